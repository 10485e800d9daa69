"""From a trained model to what a server serves, and the proof that it is the same."""
