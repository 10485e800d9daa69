"""Each gateway process dies in turn, again and again, under load from many connections."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.test_more_cores import NAMES, loading, pids, scrape, serving, spread, whole
from tests.serving import eventually

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.timeout(180)
def test_killing_each_process_in_turn_costs_its_own_connections_only(tmp_path: Path) -> None:
    """Every caller of the others is answered, its own are told UNAVAILABLE, and no total ever falls."""
    totals, kills = [0.0], [0, 0]
    with serving(tmp_path) as server:
        for lost in (0, 1) * 3:
            before = pids(server)
            with (
                spread(server) as reached,
                loading(reached[NAMES[1 - lost]]) as safe,
                loading(reached[NAMES[lost]]) as hit,
            ):
                eventually(lambda: min(safe.answers, hit.answers) > 50, within_s=20, what="there is load")
                totals.append(scrape(server)["accord_requests_total"])
                os.kill(before[lost], signal.SIGKILL)
                eventually(
                    lambda: pids(server)[lost] not in (None, before[lost]), within_s=20, what="it is back"
                )
                eventually(lambda: whole(server), within_s=20, what="it serves")
                totals.append(scrape(server)["accord_requests_total"])
                said = scrape(server)
            kills[lost] += 1
            # nothing else died
            assert [said[f"accord_process_restarts_total {name}"] for name in NAMES] == kills
            assert not safe.failures
            assert set(hit.failures) <= {"StatusCode.UNAVAILABLE"}
        assert server.stop() == 0
    assert totals == sorted(totals)
