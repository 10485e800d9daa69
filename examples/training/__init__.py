"""Trainings to try, and a demonstration from raw sentences to a served ensemble."""
