"""The admin port's token: who knows it may call, and nobody else, whatever the file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.edge.credentials import BearerToken
from protos.errors import AccordError, Reason
from protos.service import CallContext

if TYPE_CHECKING:
    from pathlib import Path


def sent(value: str) -> CallContext:
    return CallContext(arrived=0.0, metadata={"authorization": value})


@pytest.mark.parametrize("given", ["Bearer s3cret", "bearer s3cret"])
def test_the_token_of_the_file_lets_in(tmp_path: Path, given: str) -> None:
    """The scheme's case does not matter, nor does the line's end in the file."""
    (tmp_path / "token").write_text("s3cret\n")
    BearerToken(tmp_path / "token")(sent(given))


@pytest.mark.parametrize("content", ["", " \n", None])
@pytest.mark.parametrize("given", ["Bearer ", "Bearer", "Bearer s3cret"])
def test_without_a_token_in_the_file_nobody_is_let_in(
    tmp_path: Path, content: str | None, given: str
) -> None:
    """An empty file holds no token, and a file that is gone is no fault that the caller hears of."""
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(AccordError) as caught:
        BearerToken(tmp_path / "token")(sent(given))
    assert caught.value.reason is Reason.AUTH_INVALID
