"""Deciders without I/O: they say what to do, others do it."""
