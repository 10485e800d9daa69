"""Whatever texts are sent in whatever company, each is answered by its own words."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import texts
from workers.model.repository import find
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.model.session import Session

LONGEST = 60
words = st.sampled_from([word for word in texts.WORDS if word not in texts.SPECIAL]) | st.sampled_from(
    ["unknown", "naïve", "你好", "\U0001f600", "a\0b"]
)
sentences = st.lists(words, max_size=80).map(" ".join)


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with TemporaryDirectory() as folder:
        tokens = texts.tokenizer(longest=LONGEST)
        yield load(find(texts.write_text_model(Path(folder), "m", tokens=tokens), "m"), threads="1")


@settings(max_examples=150, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=24))
def test_each_text_is_answered_by_its_own_words(session: Session, sent: list[str]) -> None:
    """As computed by hand, cut where it is too long, in the place where it was sent."""
    rows = np.array([[text.encode()] for text in sent], object)
    answer = session.run({"text": rows})["embedding"]
    expected = np.stack([texts.mean_of(text, longest=LONGEST) for text in sent])
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)
