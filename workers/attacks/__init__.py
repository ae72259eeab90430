"""Adversarial attacks within l_p balls."""
