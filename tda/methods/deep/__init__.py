"""Methods that train a network, one file each."""
