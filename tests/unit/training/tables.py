"""Configurations and tables for tests of training's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.config import load
from training.data.load import load as read

if TYPE_CHECKING:
    from pathlib import Path

    from training.data import Dataset

__all__ = ["configured", "dataset", "reviews"]


def configured(folder: Path, text: str) -> Path:
    """A configuration's file."""
    path = folder / "training.yaml"
    path.write_text(text, "utf-8")
    return path


def dataset(folder: Path, text: str) -> Dataset:
    """The data that a configuration asks for."""
    return read(load(configured(folder, text))[0])


def reviews(folder: Path, *more: str, name: str = "reviews.csv", rows: int = 40) -> Path:
    """Texts, labels that alternate, stars, users of two rows each and a number; and lines of one's own."""
    lines = [f"text {i},{'good' if i % 2 else 'bad'},{i % 5},u{i // 2},{i / 8}" for i in range(rows)]
    path = folder / name
    path.write_text("\n".join(["text,label,stars,user,number", *lines, *more]) + "\n", "utf-8")
    return path
