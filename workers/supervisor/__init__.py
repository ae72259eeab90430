"""The long-lived process that claims jobs and looks after their children."""
