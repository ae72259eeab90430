"""Adaptation sets: labelled images that strangers upload, checked whole, stored by their contents."""
