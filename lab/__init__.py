"""Offline science: data sets and corruptions, training, studies. Nothing here is needed by a running job."""
