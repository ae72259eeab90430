"""The documents that users and processes exchange, as pydantic models."""
