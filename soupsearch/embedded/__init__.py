"""The whole service on one machine: a private Redis, a local Ray, one worker and the API, each its own process."""
