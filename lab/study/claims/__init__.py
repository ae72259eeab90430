"""The claims of the paper, each a number with an interval and a rule that decides."""
