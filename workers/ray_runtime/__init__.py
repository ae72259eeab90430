"""Everything that knows Ray: the private cluster, the evaluators and the search through Tune."""
