"""Training and fine-tuning of ingredients."""
