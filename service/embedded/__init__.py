"""What a whole service on one machine needs besides Python: a private Redis server."""
