"""The HTTP interface: what users and their programs call."""
