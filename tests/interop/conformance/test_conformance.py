"""Unmodified clients see of our servers what the table says, and of a real Triton what it says of Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.interop.conformance.case import (
    ADMIN,
    ENSEMBLE,
    GATEWAY,
    SEEN_AS_WORKER,
    TRITON,
    WORKER,
    Ask,
    Case,
    Ends,
    Refused,
    fits,
)
from tests.interop.conformance.cases.table import CASES
from tests.interop.conformance.clients import CLIENTS
from tests.interop.conformance.targets import NOT_FOR_TRITON, names, serve_real_triton, write_fixed
from tests.peers import ensure_installed
from tests.serving import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.interop.conformance.clients import Client

# the first run downloads
pytestmark = pytest.mark.timeout(900)

TABLE = [case for cases in CASES.values() for case in cases]
DEADLY = [case for case in TABLE if isinstance(case.triton, Ends)]


def questions() -> Iterator[Any]:
    """Yield every case with every server and every client that it names."""
    for case in TABLE:
        for server in case.on:
            if server == TRITON and isinstance(case.triton, Ends):
                continue
            for kind in case.by:
                yield pytest.param(case, server, kind, id=f"{case.name}-{server}-{kind}")


@pytest.mark.parametrize(("case", "server", "kind"), list(questions()))
def test_a_client_sees_what_the_table_says(
    client: Callable[[str, str], Client], case: Case, server: str, kind: str
) -> None:
    """Each case of the table, as each of its clients sends it to each of its servers."""
    expected, found = case.expected(server), client(server, kind).see(case.send, case.view)
    assert fits(expected, found), f"expected {expected!r}\nsaw {found!r}"


@pytest.mark.parametrize("case", DEADLY, ids=lambda case: case.name)
def test_what_is_said_to_end_triton_ends_it(case: Case, tmp_path: Path) -> None:
    """A Triton of its own, since none of the others could be asked any more."""
    ensure_installed("triton")
    with serve_real_triton([write_fixed(tmp_path / "source")], tmp_path) as target:
        asked = CLIENTS["sync"](target)
        found = asked.see(case.send, case.view)
        asked.close()
        assert fits(Refused("UNAVAILABLE"), found)
        eventually(lambda: gone(target.pid), within_s=10, what="Triton is gone")


def gone(pid: int | None) -> bool:
    assert pid is not None
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_every_case_says_why_it_deviates() -> None:
    """Names are unique, a reason stands where a difference is stated, and only there."""
    assert len({case.name for case in TABLE}) == len(TABLE)
    for case in TABLE:
        assert bool(case.why) == case.deviates, case.name
        assert case.triton is SEEN_AS_WORKER or TRITON in case.on, case.name


@pytest.mark.parametrize("server", [WORKER, GATEWAY, ADMIN])
def test_what_is_advertised_is_exercised(client: Callable[[str, str], Client], server: str) -> None:
    """For each extension that a server lists there is a case that it passes."""
    listed = client(server, "sync").see(Ask("get_server_metadata"), lambda answer: list(answer.extensions))
    same = {server, GATEWAY} if server == ADMIN else {server}  # the admin address serves what the other does
    exercised = {case.of for case in TABLE if same.intersection(case.on)}
    assert set(listed) <= exercised
    assert len(listed) == len(set(listed)) > 5


@pytest.mark.parametrize("server", [WORKER, GATEWAY, ENSEMBLE, TRITON])
def test_metadata_and_config_agree(
    client: Callable[[str, str], Client], repository: Path, server: str
) -> None:
    """Of each model metadata lists the config's tensors, with the row dimension before dims if it batches."""
    asked = client(server, "sync")
    for model in names(repository):
        if server == TRITON and model in NOT_FOR_TRITON:
            continue
        metadata = asked.see(Ask("get_model_metadata", model), lambda answer: answer)
        config = asked.see(Ask("get_model_config", model), lambda answer: answer.config)
        rows = [-1] if config.max_batch_size else []
        for told, written in ((metadata.inputs, config.input), (metadata.outputs, config.output)):
            assert [(t.name, list(t.shape)) for t in told] == [
                (entry.name, [*rows, *entry.dims]) for entry in written
            ]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({"y": [1]}, {"y": [2]}),
        (Refused("NOT_FOUND"), Refused("UNAVAILABLE")),
        (Refused("NOT_FOUND", "MODEL_NOT_FOUND"), Refused("NOT_FOUND")),
        (Refused("NOT_FOUND", field="inputs"), Refused("NOT_FOUND", field="outputs")),
        (Refused("NOT_FOUND", text="no model"), Refused("NOT_FOUND", text="other")),
        (Refused("NOT_FOUND"), {"y": [1]}),
        (["a", Refused("")], ["a"]),
        ([None], [Refused("INTERNAL")]),
    ],
)
def test_a_wrong_outcome_is_noticed(expected: Any, found: Any) -> None:
    """The comparison fails where anything that is expected is missing or other."""
    assert not fits(expected, found)
    assert fits(expected, expected)
