"""Backbones: one file a family, all of them a `Backbone`."""
