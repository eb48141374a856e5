"""Datasets: one file each, all of them a `Dataset`."""
