"""Evaluation on a GPU against the CPU, and against bare forward passes."""
