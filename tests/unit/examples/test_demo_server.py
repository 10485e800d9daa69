"""A gateway that cannot start is reported in its own words, at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from examples import ExampleError
from examples.demo.server import serve

if TYPE_CHECKING:
    from pathlib import Path


def test_a_configuration_that_is_refused_is_reported_with_the_reason(tmp_path: Path) -> None:
    """The error carries the exit code and the refusal, and does not wait for the time limit."""
    config = tmp_path / "wrong.yaml"
    config.write_text("models: {}\nensembles: {e: {strategy: {kind: mean}, members: [{model: nobody}]}}\n")
    started = time.monotonic()
    with pytest.raises(ExampleError, match=r"(?s)exit code 2.*nobody"), serve(config, tmp_path):
        pytest.fail("a gateway was yielded")
    assert time.monotonic() - started < 30
