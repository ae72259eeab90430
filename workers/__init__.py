"""What does the work: soups, evaluation, attacks, training, Ray actors, the supervisor and the command line."""
