"""Per request: everything between a message and a batch."""
