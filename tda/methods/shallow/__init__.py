"""Methods on fixed features, one file each."""
