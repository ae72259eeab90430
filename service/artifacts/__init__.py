"""Files of the service: pantries, adaptation sets and merged models."""
