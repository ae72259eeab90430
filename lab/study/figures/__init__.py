"""One module per figure: its numbers with their intervals, and its drawing."""
