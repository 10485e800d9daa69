"""The services over a catalog of fakes: what they count, what they tell, and what changes the server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from accord.v1 import ensemble_pb2 as pb
from gateway.config import Config
from gateway.config.schema import Server
from gateway.edge.accounts import Accounts
from gateway.edge.admission import Admission
from gateway.edge.ask import Asker
from gateway.edge.coalesce import Coalescer
from gateway.edge.listeners import Listeners
from gateway.edge.services.ensemble import EnsembleService
from gateway.edge.services.inference import InferenceService
from gateway.edge.services.repository import RepositoryService
from gateway.engine.catalog import Catalog
from gateway.engine.engine import Engine
from gateway.observe.metrics import Metrics
from gateway.observe.statistics import Ledger
from gateway.siblings import Siblings
from protos import oip
from protos.errors import AccordError, Cause
from protos.service import CallContext
from protos.tensor import TensorSpec
from tests.clock import run
from tests.fakes import NEVER, FakeMember, Turn, answers, config, ensemble, fakes, late, lost, seats, spec

if TYPE_CHECKING:
    from collections.abc import Mapping

m = oip.messages
X = np.array([[1.0], [2.0]], np.float32)
CALL = CallContext(0.0)
ALONE = Siblings(Path("/nowhere"))
TWO = {"e": ensemble(*seats("a", "b"))}


async def nothing() -> None:
    """Nobody needs to be told."""


class Served:
    """Both services over the same fakes, as a listener has them."""

    def __init__(self, members: Mapping[str, FakeMember], ensembles: Mapping[str, Any] | None = None) -> None:
        ledger = Ledger()
        self.catalog = Catalog(config(ensembles or {}, members), members)
        self.asker = Asker(
            catalog=self.catalog,
            admission=Admission(max_in_flight=10, max_request_bytes=10_000, max_bytes_in_flight=10**6),
            coalescer=Coalescer(Engine(members), Metrics(), ledger, max_linger_s=0.005, max_bytes=10**6),
        )
        accounts = Accounts(self.asker, Metrics(), ledger, clock=self.clock)
        self.inference = InferenceService(self.asker, accounts, ledger, ALONE)
        self.ensembles = EnsembleService(self.asker, accounts)

    @staticmethod
    def clock() -> float:
        return asyncio.get_running_loop().time()

    def ask(self, *requests: Any, within_s: float = NEVER) -> list[str]:
        """Send requests one after another, waiting so long for each; return the reasons of the refusals."""
        reasons: list[str] = []

        async def main() -> None:
            for request in requests:
                try:
                    async with asyncio.timeout(within_s):
                        await self.inference.model_infer(request, CallContext(self.clock()))
                except AccordError as error:
                    reasons.append(error.reason.name)
                except TimeoutError:
                    reasons.append("gone")
            await self.asker._coalescer.drain()

        run(main())
        return reasons

    def counts(self, name: str) -> dict[str, tuple[int, int]]:
        """Return by version how many requests succeeded and failed."""
        request = m.ModelStatisticsRequest(name=name)
        told = run(self.inference.model_statistics(request, CALL)).model_stats
        return {
            each.version: (each.inference_stats.success.count, each.inference_stats.fail.count)
            for each in told
        }


def infer(name: str = "a", version: str = "", **parameters: Any) -> Any:
    request = m.ModelInferRequest(model_name=name, model_version=version)
    request.inputs.add(name="x", datatype="FP32", shape=[2, 1])
    request.raw_input_contents.append(X.tobytes())
    oip.write_parameters(request.parameters, parameters)
    return request


# --- statistics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["message", "parameter", "model", "members"])
def test_every_request_that_fails_is_counted_wherever_it_failed(where: str) -> None:
    """Also before anyone is asked: in the message itself, or against the model."""
    served = Served(fakes(a=late(0.1), b=lost(Cause.MEMBER_INTERNAL)))
    request = infer("b" if where == "members" else "a", **({"priority": -1} if where == "parameter" else {}))
    if where == "message":
        request.raw_input_contents.append(b"")
    elif where == "model":
        request.inputs[0].shape[:] = [1, 2]
    assert len(served.ask(infer(), request)) == 1
    assert served.counts(request.model_name)["1"][1] == 1
    assert served.counts("a")["1"][0] == 1


def test_an_answer_that_cannot_be_told_as_wanted_is_no_success() -> None:
    """Classes of an output that has none are refused when the answer is made: the request has failed."""
    truths = spec("a", outputs=[TensorSpec("y", "BOOL", (-1, 1))])
    served = Served({"a": FakeMember(truths, Turn(says=answers({"y": X > 0}, version="1")))})
    request = infer()
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    assert served.ask(infer(), request) == ["PARAMETER_INVALID"]
    assert served.counts("a") == {"1": (1, 1)}


def test_a_caller_who_goes_away_got_no_answer() -> None:
    """It is a failure like any other."""
    served = Served(fakes(a=late(5.0)))
    assert served.ask(infer(), within_s=1.0) == ["gone"]
    assert served.counts("a") == {"1": (0, 1)}


def test_a_failure_belongs_to_the_version_that_was_named() -> None:
    """Without a name to the one that would have answered; a version that is not served has no record."""
    both = replace(spec("a", version="2"), versions=("1", "2"))
    served = Served({"a": FakeMember(both, lost(Cause.MEMBER_INTERNAL))})
    assert len(served.ask(infer(version="1"), infer(version="1"), infer(), infer(version="3"))) == 4
    assert served.counts("a") == {"1": (0, 2), "2": (0, 1)}


def test_a_typed_request_is_counted_like_one_of_the_open_protocol() -> None:
    """A stream of answers is one request, answered when its last answer is out."""
    served = Served(fakes(a=late(0.1), b=late(0.2)), TWO)
    tensor = pb.Tensor(name="x", datatype="FP32", shape=[2, 1], raw=X.tobytes())
    request = pb.InferRequest(ensemble="e", inputs=[tensor])

    async def main() -> list[bool]:
        await served.ensembles.infer(request, CALL)
        with pytest.raises(AccordError):
            await served.ensembles.infer(pb.InferRequest(ensemble="e"), CALL)
        finals = [answer.final async for answer in served.ensembles.infer_stream(request, CALL)]
        await served.asker._coalescer.drain()
        return finals

    assert run(main()) == [False, True]
    assert served.counts("e") == {"1": (2, 1)}


# --- what is told of a model ---------------------------------------------------------------------------


def test_an_ensemble_of_another_server_is_told_as_one_model() -> None:
    """A client that reads ``ensemble`` asks for every step, and its steps are not served here."""
    theirs = oip.model_config.ModelConfig(name="there", platform="ensemble", max_batch_size=8)
    theirs.ensemble_scheduling.step.add(model_name="step", model_version=-1)
    served = Served({"a": FakeMember(replace(spec("a"), platform="ensemble", config=theirs))})
    metadata = run(served.inference.model_metadata(m.ModelMetadataRequest(name="a"), CALL))
    config = run(served.inference.model_config(m.ModelConfigRequest(name="a"), CALL)).config
    assert "ensemble" not in {metadata.platform, config.platform}
    assert not config.HasField("ensemble_scheduling")
    assert theirs.HasField("ensemble_scheduling")


# --- loading and unloading -----------------------------------------------------------------------------


def test_whoever_watches_is_told_when_a_name_is_taken_out_and_in() -> None:
    """An ensemble has no replicas whose readiness would tell."""
    members = fakes(a=late(0.1), b=late(0.1))
    catalog = Catalog(config(TWO, members), members)
    seen: list[bool] = []

    async def look() -> None:
        seen.append(catalog.ready(catalog.plan("e")))

    repository = RepositoryService(catalog, {}, on_change=look)
    run(repository.repository_model_unload(m.RepositoryModelUnloadRequest(model_name="e"), CALL))
    run(repository.repository_model_load(m.RepositoryModelLoadRequest(model_name="e"), CALL))
    assert seen == [False, True]


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ({"worker": {"repository": ".", "poll_s": 1.0}}, "poll_s"),
        ({"oip": {"targets": ["localhost:1"]}}, "another server"),
    ],
)
def test_a_model_that_is_not_ours_to_load_is_refused_and_served_on(
    backend: Mapping[str, Any], told: str
) -> None:
    """The error says whose business it is."""
    members = fakes(a=late(0.1))
    settings = Config.model_validate({"models": {"a": backend}})
    catalog = Catalog(settings, members)
    repository = RepositoryService(catalog, {}, on_change=nothing)
    with pytest.raises(AccordError) as caught:
        run(repository.repository_model_unload(m.RepositoryModelUnloadRequest(model_name="a"), CALL))
    assert (caught.value.reason.name, catalog.is_out("a")) == ("CONFIG_REJECTED", False)
    assert told in caught.value.message


# --- listeners -----------------------------------------------------------------------------------------


async def test_all_listeners_drain_at_once() -> None:
    """One after another they would take longer than the parent process waits."""
    asker = Served(fakes(a=late(0.1))).asker
    server = Server(admin="unix:/nowhere/admin.sock")
    listeners = Listeners(
        server,
        asker,
        metrics=Metrics(),
        ledger=Ledger(),
        loadable={},
        log=oip.LogService(log_format="text"),
        siblings=ALONE,
        publish=nothing,
    )
    both = asyncio.Barrier(len(listeners._edges))

    class Edge:
        async def stop(self, _drain_s: float) -> None:
            await both.wait()

    listeners._edges = [(Edge(), address) for _, address in listeners._edges]
    async with asyncio.timeout(5):
        await listeners.stop(1.0)
    assert both.parties == 2


# --- descriptions --------------------------------------------------------------------------------------


def test_a_member_is_described_with_what_it_reads() -> None:
    """Also where it is an ensemble; it is as ready as that."""
    members = fakes(first=late(0.0), enc=late(0.0), head=late(0.0), a=late(0.0))
    y = {"member": "enc", "output": "y"}
    ensembles = {
        "e": ensemble(
            {"model": "first"},
            {"model": "enc", "inputs": {"x": {"member": "first", "output": "y"}}},
            {"model": "head", "inputs": {"x": y}},
            {"ensemble": "inner", "inputs": {"x": y}},
        ),
        "inner": ensemble(*seats("head"), {"model": "a", "inputs": {"x": {"member": "head", "output": "y"}}}),
    }
    served = Served(members, ensembles)

    def described() -> dict[str, tuple[list[str], bool, str]]:
        request = pb.DescribeEnsembleRequest(ensemble="e")
        told = run(served.ensembles.describe_ensemble(request, CALL)).members
        return {each.seat: (list(each.reads), each.feeder, each.problem) for each in told}

    assert described() == {
        "head": (["enc"], False, ""),
        "inner": (["enc"], False, ""),
        "first": ([], True, ""),
        "enc": (["first"], True, ""),
        "inner/head": (["enc"], True, ""),
    }
    members["first"].ready = False
    assert {seat: problem for seat, (_, _, problem) in described().items()} == {
        "first": "its model is not ready",
        "enc": "it reads 'first', which is not ready",
        "head": "it reads 'enc', which is not ready",
        "inner": "it reads 'enc', which is not ready",
        "inner/head": "it reads 'enc', which is not ready",
    }
