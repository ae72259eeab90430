"""One module a figure: its numbers with their intervals, and its drawing."""
