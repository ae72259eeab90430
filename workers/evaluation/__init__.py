"""Scoring of soups on labelled images."""
