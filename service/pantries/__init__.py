"""Pantries: sets of checkpoints that make soups together, checked whole and immutable."""
