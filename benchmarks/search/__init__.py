"""What search strategies find of recorded landscapes, and at what cost."""
