"""Text for models that compute with numbers: tokens from it before a run, strings from numbers after."""
