"""Soups refined on the adaptation images beyond their weights: BatchNorm statistics, last layer, temperature."""
