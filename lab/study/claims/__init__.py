"""The claims of the paper, each as a figure with an interval and a rule that decides."""
