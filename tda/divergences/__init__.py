"""Distances between two samples: pure functions on arrays."""
