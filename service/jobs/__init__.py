"""Jobs in Redis: their states, queue, points and events."""
