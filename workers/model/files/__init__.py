"""Whether a model's files may be opened at all: where they lie, what they hold, that nothing was swapped."""
