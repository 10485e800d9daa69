"""Labelled data: read from files, turned into labels, split without leaks, mixed into batches."""

from training.data.dataset import Arrays, Dataset, Inputs, Kind, Labels, Pairs, Part, Texts

__all__ = ["Arrays", "Dataset", "Inputs", "Kind", "Labels", "Pairs", "Part", "Texts"]
