"""Per batch: fan-out, waiting, judging, merging."""
