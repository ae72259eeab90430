"""Speed and memory of adversarial fine-tuning of ViT-B/16."""
