"""The section on data: where rows come from, what the model reads, how they are split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from training.config.scalars import Columns, Place, Section, Share, one_or_more

__all__ = ["CORPORA", "Data", "Source", "Split"]

CORPORA = ("vader", "vader-ranking", "vader-cloze", "digits")


class Source(Section):
    """Where rows come from: a corpus that is known by name, or a file; written as a plain name for short."""

    corpus: Literal["vader", "vader-ranking", "vader-cloze", "digits"] | None = None
    """A corpus whose columns are known."""
    file: Place | None = None
    """A table, or a file of SQuAD; relative to this file."""
    format: Literal["csv", "jsonl", "parquet", "squad"] | None = None
    """The file's format; default: by its suffix."""
    domain: str | None = None
    """What its rows are mixed and counted as; default: the file's name, or as the corpus says."""
    part: Literal["train", "validation", "test"] | None = None
    """The part that all its rows belong to; default: as `split` says."""
    licence: str = "not stated"
    """Under which terms the file may be used, for the data card; a corpus knows its own."""

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return {"corpus": value} if value in CORPORA else {"file": value}

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if (self.corpus is None) == (self.file is None):
            raise ValueError(f"needs either corpus ({', '.join(CORPORA)}) or file")
        if self.file is not None and self.format is None and _suffix(self.file) not in _SUFFIXES:
            raise ValueError(
                f"{self.file.name!r} is neither a corpus ({', '.join(CORPORA)}) nor a file whose suffix "
                "tells its format; say format: csv, jsonl, parquet or squad"
            )
        return self

    @property
    def read_as(self) -> str:
        """The format of the file."""
        if self.format is not None or self.file is None:
            return self.format or ""
        return _SUFFIXES[_suffix(self.file)]


_SUFFIXES = {"csv": "csv", "jsonl": "jsonl", "ndjson": "jsonl", "parquet": "parquet"}


def _suffix(file: Path) -> str:
    return file.suffix[1:].lower()


class Split(Section):
    """Which rows are for training, validation and test; groups are never torn apart."""

    by: Columns = ()
    """Columns whose equal values keep rows together; rows with the same text always stay together."""
    parts: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)
    """Shares of rows for training, validation and test."""
    column: str | None = None
    """A column that says the part of each row (train, validation or test) instead."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the order in which groups are dealt to the parts."""

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(sum(self.parts) - 1) > 1e-6:
            raise ValueError(f"parts must sum to 1, not {sum(self.parts):g}")
        if self.column is not None and "parts" in self.model_fields_set:
            raise ValueError("parts has no effect where a column says the part; leave one of them out")
        return self


class Data(Section):
    """The rows: where they come from, what of them the model reads, how they are split."""

    source: Annotated[tuple[Source, ...], BeforeValidator(one_or_more), Field(min_length=1)]
    """One source or several: `vader`, `digits`, `reviews.csv`, `{file: rows.parquet, domain: shop}`."""
    text: str | None = None
    """The column that holds the text; default: `text`, if neither `question` nor `features` is given."""
    question: str | None = None
    """The column that holds the question, where a row is a pair; needs `context`."""
    context: str | None = None
    """The column that holds the context."""
    features: tuple[str, ...] = ()
    """Columns of numbers, where a row is no text."""
    domain: str | None = None
    """The column that names a row's domain; default: the source."""
    split: Split = Split()
    """Which rows are for what."""
    max_length: Annotated[int, Field(ge=4, le=8192)] = 64
    """Tokens of a text that are read; the rest is cut off."""
    max_rows: Annotated[int, Field(ge=10)] | None = None
    """Use only about so many rows, whole groups drawn by the split's seed: for a trial run."""
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training rows that are used, whole groups, for curves over sizes; the other parts stay."""
    downloads: Place = Path("build/downloads")
    """Where archives of corpora are kept; default: `build/downloads` of the working directory."""

    @model_validator(mode="after")
    def _one_input(self) -> Data:
        if (self.question is None) != (self.context is None):
            raise ValueError("needs both question and context, or neither")
        if sum([self.text is not None, self.question is not None, bool(self.features)]) > 1:
            raise ValueError("needs one of text, question with context, features")
        places = [source.file or source.corpus for source in self.source]
        twice = next((place for place in places if places.count(place) > 1), None)
        if twice is not None:
            raise ValueError(f"source names {twice} twice: its rows would count double")
        return self
