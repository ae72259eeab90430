"""Ingredient weights in memory, their merge into soups, and their files."""
