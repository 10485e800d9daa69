"""The example configurations: each loads, its data can be read, and nothing leaks between their parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.config import load
from training.data import Dataset, Pairs, Part, Texts, vader
from training.data.load import load as read
from training.data.mix import order
from training.data.split import split_groups, torn

EXAMPLES = Path(__file__).parents[3] / "examples" / "training"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def dataset(name: str) -> Dataset:
    config, _ = load(EXAMPLES / f"{name}.yaml")
    archive = config.data.downloads / vader.ARCHIVE.name
    if (
        any((source.corpus or "").startswith("vader") for source in config.data.source)
        and not archive.exists()
    ):
        pytest.skip("needs the archive that make models fetches")
    return read(config)


def test_there_are_examples() -> None:
    """One for each kind of input, and one to see that the chain works."""
    assert NAMES == ["digits", "ranking", "reviews", "smoke", "span"]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_example_would_do_can_be_told(name: str) -> None:
    """Every part has labelled rows of every task, and no group is in two parts."""
    config, _ = load(EXAMPLES / f"{name}.yaml")
    data = dataset(name)
    assert all(count > 0 for task in data.card["tasks"].values() for count in task["labelled"].values())
    assert order(data, batch=config.train.batch).per_epoch > 0
    for group in (data.groups[data.rows(part)] for part in Part):
        assert len(group)
    for one in Part:
        for other in Part:
            if one < other:
                assert not np.intersect1d(data.groups[data.rows(one)], data.groups[data.rows(other)]).size


def test_the_reviews_are_split_by_document_and_text() -> None:
    """The shares that were asked for, in each domain; no text is in two parts, though some are repeated."""
    data = dataset("reviews")
    assert len(data) == 23_703
    assert isinstance(data.inputs, Texts)
    part_of: dict[str, int] = {}
    repeated = 0
    for text, part in zip(data.inputs.texts, data.parts.tolist(), strict=True):
        key = " ".join(text.lower().split())
        repeated += key in part_of
        assert part_of.setdefault(key, part) == part
    assert repeated >= 84
    domains = [data.domain_names[domain] for domain in data.domains]
    by_row = split_groups(np.arange(len(data)), domains, (0.8, 0.1, 0.1), seed=0)
    assert len(torn(data.groups, by_row)) > 500  # the negative control
    for counts in data.card["domains"].values():
        shares = [counts[part.name.lower()] / sum(counts.values()) for part in Part]
        np.testing.assert_allclose(shares, (0.8, 0.1, 0.1), atol=0.02)


def test_hidden_names_stand_where_they_are_said_to() -> None:
    """In every item, by every span."""
    data = dataset("span")
    labels = data.labels["answer"]
    assert isinstance(data.inputs, Pairs)
    assert labels.known.all()
    for question, context, spans in zip(
        data.inputs.questions, data.inputs.contexts, labels.accepted, strict=True
    ):
        (name,) = {context[begin:end] for begin, end in spans}
        assert name[0].isupper()
        assert "_____" in question
