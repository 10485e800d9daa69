"""Log lines: what a caller wrote stays inside its field."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from protos import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def restored() -> Iterator[None]:
    """Undo what configuring the logs changes in this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("odd", ["a\x1b[2Jb", "a\nb", "a\x07b", "a\x9bb"])
def test_a_callers_text_cannot_steer_a_terminal(
    log_format: logs.LogFormat, odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Request ids and names come from anyone, and are read by people."""
    logs.configure(log_format)
    logging.getLogger("test").info("request failed", extra={"request_id": odd})
    line = capsys.readouterr().err
    assert "request_id" in line
    assert line.endswith("\n")
    assert line[:-1].isprintable()


@pytest.mark.usefixtures("restored")
def test_what_we_write_ourselves_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A list of complaints is easier to read that way."""
    logs.configure("text")
    logging.getLogger("test").info("one\ntwo")
    assert "one\ntwo" in capsys.readouterr().err
