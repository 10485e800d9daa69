"""How answers merge: one idea per module; found by the entry-point group ``accord.strategies``."""
