"""Archives from strangers, read member by member under limits."""
