"""Model workers: one process hosts one model and speaks the Open Inference Protocol."""
