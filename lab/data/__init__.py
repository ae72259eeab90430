"""Data sets: loaders, layouts and corruptions."""
