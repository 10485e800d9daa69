"""A hundred loads in a row, and nobody who asks meanwhile is failed; tests/integration shows ten."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tritonclient.grpc as triton

from tests.integration.loading import asking, load_in_turn, times
from tests.integration.test_admin import serving
from tests.integration.test_worker import working

if TYPE_CHECKING:
    from pathlib import Path


def test_a_worker_loads_a_model_a_hundred_times_under_load_without_a_failed_call(tmp_path: Path) -> None:
    """Two clients ask without a pause while each load alternates between two exports of the model."""
    with (
        working(tmp_path, "m", times(1), f"unix:{tmp_path}/s", "--control", "explicit") as worker,
        triton.InferenceServerClient(worker.address) as client,
    ):
        with asking(worker.address, "m", "m") as told:
            load_in_turn(tmp_path, client, told, loads=100)
        assert worker.stop() == 0
    for asked in told:
        assert not asked.failures
        assert min(asked.factors[1.0], asked.factors[2.0]) >= 50


def test_a_gateway_loads_a_model_a_hundred_times_under_load_without_a_failed_call(tmp_path: Path) -> None:
    """Each load alternates between two exports, on both instances, while callers ask model and ensemble."""
    with (
        serving(tmp_path) as server,
        triton.InferenceServerClient(server.listening()) as public,
        triton.InferenceServerClient(f"unix:{tmp_path}/admin.sock") as admin,
    ):
        with asking(server.listening(), "m", "e") as told:
            load_in_turn(tmp_path / "models", admin, told, loads=100)
        statistics = public.get_inference_statistics("m").model_stats[0]
    model, ensemble = told
    assert not model.failures
    assert not ensemble.failures
    assert min(model.factors[1.0], model.factors[2.0]) >= 50
    assert statistics.inference_stats.fail.count == 0
    assert statistics.inference_count == sum(model.factors.values())
