"""What to try next and which soup is best: lattices, strategies, objectives and statistics, free of I/O."""
