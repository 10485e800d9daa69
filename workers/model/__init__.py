"""A model on disk and in memory: no gRPC, no process code."""
