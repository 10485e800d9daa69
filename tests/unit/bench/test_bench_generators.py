"""Load generators: what is read from their reports, and what is done when there is none."""

from __future__ import annotations

import doctest
import os
from typing import TYPE_CHECKING

import pytest
from google.protobuf.proto import parse_length_prefixed

from bench.figures import OK, Call, Load
from bench.generators import Ask, GeneratorFailed, Missing, ghz, h2load
from protos.oip import messages

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY = "traffic: 1.0KB (1000) total, 10B (10) headers (space savings 96.00%), {0}B ({0}) data\n"


@pytest.mark.parametrize("module", [ghz, h2load], ids=lambda module: module.__name__)
def test_examples_are_true(module: object) -> None:
    """What the docstrings show is what the functions return."""
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted >= 1
    assert found.failed == 0


def test_every_status_of_ghz_is_kept() -> None:
    """A call that failed is there too, by its status; the order in time is kept to the microsecond."""
    details = [
        {"timestamp": "2026-11-27T17:10:08.000001Z", "latency": 1_500_000, "status": "OK", "error": ""},
        {"timestamp": "2026-11-27T17:10:08.000002Z", "latency": 10, "status": "Unavailable", "error": "gone"},
    ]
    ok, failed = ghz.calls({"details": details})
    assert (ok.took_s, ok.status, failed.status) == (0.0015, OK, "Unavailable")
    assert failed.ended_s - ok.ended_s == pytest.approx(1e-6, abs=5e-7)


@pytest.mark.parametrize("report", [{}, {"details": [{}]}, {"details": [{"timestamp": "now"}]}], ids=str)
def test_what_is_no_report_of_ghz_is_refused(report: dict[str, object]) -> None:
    """A report of another form is an error that says so, not an empty measurement."""
    with pytest.raises(GeneratorFailed, match="not a report of ghz"):
        ghz.calls(report)


def test_a_run_without_a_call_is_no_error_of_ghz() -> None:
    """It writes null then; that nobody answered is told with the figures."""
    assert ghz.calls({"details": None}) == []


def test_every_status_of_h2load_is_kept() -> None:
    """HTTP errors and streams that ended without an answer are not OK."""
    found = h2load.calls("10\t200\t5\n20\t503\t5\n30\t-1\t5\n")
    assert [call.status for call in found] == [OK, "HTTP 503", "no answer"]
    with pytest.raises(GeneratorFailed, match="not a log of h2load"):
        h2load.calls("something else")


def test_grpc_errors_show_by_the_bytes_that_are_missing() -> None:
    """Four answers of 62 bytes each, of which one did not come: one call counts as failed, and no more."""
    made = [Call(float(i), 0.1, OK) for i in range(4)]
    assert h2load.without_message(made, SUMMARY.format(4 * 62), reply_bytes=57) == made
    statuses = [call.status for call in h2load.without_message(made, SUMMARY.format(3 * 62), reply_bytes=57)]
    assert statuses == ["no message", OK, OK, OK]


def test_replies_of_calls_that_were_cut_off_hide_no_failure_but_their_own() -> None:
    """More answers than calls, as when the load ends between an answer and its trailers, are none lost."""
    made = [Call(1.0, 0.1, OK)]
    assert h2load.without_message(made, SUMMARY.format(3 * 62), reply_bytes=57) == made


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands where both generators are looked for; the test writes what it does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "h2load"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(ghz, "GHZ", path)
    path.touch(0o755)
    return path


@pytest.mark.parametrize("generator", [ghz, h2load], ids=lambda module: module.__name__)
def test_a_generator_that_fails_tells_why(generator: object, program: Path, tmp_path: Path) -> None:
    """Its own words reach the reader, and an older report is not taken for a new one."""
    program.write_text("#!/bin/sh\necho 'cannot do that' >&2; exit 1\n")
    for name in ("ghz.json", "h2load.log"):
        (tmp_path / name).write_text("{}")
    ask = Ask("http://127.0.0.1:1/a.B/C", (b"",), 1)
    with pytest.raises(GeneratorFailed, match="cannot do that"):
        generator.drive(ask, Load("x", 1), 0.1, tmp_path)  # type: ignore[attr-defined]


def test_ghz_is_given_every_request(program: Path, tmp_path: Path) -> None:
    """They stand in the file as protobuf's delimited messages, long ones too."""
    program.write_text("#!/bin/sh\nexit 1\n")
    bodies = tuple(
        messages.ModelInferRequest(model_name="m" * length).SerializeToString() for length in (1, 300, 70_000)
    )
    with pytest.raises(GeneratorFailed):
        ghz.drive(Ask("http://127.0.0.1:1/a.B/C", bodies, 1), Load("x", 1), 0.1, tmp_path)
    with (tmp_path / "requests.bin").open("rb") as file:
        for body in bodies:
            found = parse_length_prefixed(messages.ModelInferRequest, file)
            assert found is not None
            assert found.SerializeToString() == body
        assert file.read() == b""


def test_a_generator_that_is_missing_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without h2load on the path, the message names the package."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Missing, match="nghttp2-client"):
        h2load.ensure()
