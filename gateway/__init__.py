"""The gateway: one request in, several models asked, one answer out."""
