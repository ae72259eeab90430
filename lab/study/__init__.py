"""The protocol of the paper on any pantry and data: every soup scored once, every figure drawn from the tables."""
