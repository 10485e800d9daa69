"""What is told of server and models, and what is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from grpc_health.v1 import health_pb2

from protos.oip import model_config
from tests.interop.conformance.case import (
    ADMIN,
    ENSEMBLE,
    GATEWAY,
    STUB,
    TRITON,
    WORKER,
    Ask,
    Case,
    Growth,
    Infer,
    Refused,
    Rpc,
)

__all__ = ["CASES"]

_BATCH = Infer(
    "grid", {f"x_{n}": np.ones((3, 2, 3), t) for n, t in (("FP32", np.float32), ("INT32", np.int32))}
)
_BAD = Infer("grid", {"x_FP32": np.ones((1, 2, 3), np.float32)})


def _manages(metadata: Any) -> bool:
    return {"model_repository", "model_repository(unload_dependents)"} <= set(metadata.extensions)


def _described(metadata: Any) -> dict[str, Any]:
    return {t.name: (t.datatype, list(t.shape)) for t in (*metadata.inputs, *metadata.outputs)}


def _configured(response: Any) -> tuple[Any, ...]:
    config = response.config
    return (
        config.name.removesuffix("-ensemble"),
        config.max_batch_size,
        {t.name: (t.data_type, list(t.dims)) for t in (*config.input, *config.output)},
    )


def _optional(response: Any) -> dict[str, bool]:
    return {entry.name: entry.optional for entry in response.config.input}


_NUMBER = {name: model_config.DataType.Value(f"TYPE_{name}") for name in ("FP32", "INT32")}
_SERVING = "SERVING"
_NOT_OFFERED = {"cuda_shared_memory", "sequence", "system_shared_memory", "trace"}

CASES = (
    # health
    Case(name="is the server live", send=Ask("is_server_live"), view=bool, see=True),
    Case(name="is the server ready", send=Ask("is_server_ready"), view=bool, see=True),
    Case(name="is a model ready", send=Ask("is_model_ready", "versions"), view=bool, see=True),
    Case(
        name="is a version ready",
        send=Ask("is_model_ready", "versions", ("3",)),
        view=bool,
        see=True,
        on=(WORKER, GATEWAY, TRITON),
    ),
    *(
        Case(
            name=f"`grpc.health.v1` {of}",
            send=Rpc(
                "Check",
                health_pb2.HealthCheckRequest(service=service),
                None,
                "grpc.health.v1.Health",
                health_pb2.HealthCheckResponse,
            ),
            view=lambda response: health_pb2.HealthCheckResponse.ServingStatus.Name(response.status),
            see=see,
            triton=theirs,
            why=why,
            by=STUB,
        )
        for of, service, see, theirs, why in (
            ("of the server", "", _SERVING, _SERVING, ""),
            (
                "of an unknown service",
                "nobody",
                Refused("NOT_FOUND"),
                _SERVING,
                "So the standard wants it; Triton reads no name.",
            ),
        )
    ),
    # description
    Case(
        name="the extensions that are not offered",
        send=Ask("get_server_metadata"),
        view=lambda metadata: sorted(_NOT_OFFERED.intersection(metadata.extensions)),
        see=[],
        triton=sorted(_NOT_OFFERED),
        why="Listed is what works.",
    ),
    Case(
        name="the extension `model_repository` where calls may change the server",
        send=Ask("get_server_metadata"),
        view=_manages,
        see=True,
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="the extension `model_repository` where callers may only ask",
        send=Ask("get_server_metadata"),
        view=_manages,
        see=False,
        triton=True,
        why="Loading and unloading are calls to a gateway's admin address.",
        on=(GATEWAY, ENSEMBLE, TRITON),
    ),
    Case(
        name="the server's name",
        send=Ask("get_server_metadata"),
        view=lambda metadata: metadata.name,
        see="accord-worker",
        gateway="accord",
        triton="triton",
        why="Its own.",
    ),
    Case(
        name="a model's metadata",
        send=Ask("get_model_metadata", "grid"),
        view=_described,
        see={f"{side}_{name}": (name, [-1, 2, 3]) for side in "xy" for name in ("FP32", "INT32")},
    ),
    Case(
        name="a model's versions",
        send=Ask("get_model_metadata", "versions"),
        view=lambda metadata: list(metadata.versions),
        see=["1", "3"],
        ensemble=["1"],
        why="An ensemble has a version of its own.",
    ),
    Case(
        name="a model's config",
        of="model_configuration",
        send=Ask("get_model_config", "grid"),
        view=_configured,
        see=(
            "grid",
            8,
            {f"{side}_{name}": (_NUMBER[name], [2, 3]) for side in "xy" for name in ("FP32", "INT32")},
        ),
    ),
    Case(
        name="the config of a model that does not batch",
        send=Ask("get_model_config", "deep"),
        view=lambda response: (response.config.max_batch_size, len(response.config.input[0].dims)),
        see=(0, 16),
    ),
    Case(
        name="the config of a model with optional inputs",
        send=Ask("get_model_config", "bias"),
        view=_optional,
        see={"x": False, "bias": True},
    ),
    Case(
        name="the config of an ensemble",
        send=Ask("get_model_config", "parked"),
        view=lambda response: (
            response.config.platform,
            dict(response.config.parameters)["accord_strategy"].string_value,
        ),
        see=("accord", "first"),
        on=(ENSEMBLE,),
    ),
    # statistics
    Case(
        name="the statistics of two requests of three rows",
        of="statistics",
        send=Growth("grid", (_BATCH, _BATCH)),
        see={
            "rows": 6,
            "runs": 2,
            "success": 2,
            "queue": 2,
            "compute_infer": 2,
            "runs of 3": 2,
        },
        view=lambda grown: grown,
    ),
    Case(
        name="the statistics of a refused request",
        send=Growth("grid", (_BAD,)),
        see={"fail": 1},
        view=lambda grown: grown,
        triton={},
        why="Every request that comes is counted; Triton counts none that it refuses before it queues it.",
    ),
    Case(
        name="the statistics of a request that the model refuses",
        send=Growth("picky", (Infer("picky", {"index": np.array([7])}),)),
        see={"fail": 1},
        view=lambda grown: grown,
        triton={"rows": 1, "runs": 1, "success": 1, "queue": 1, "compute_infer": 1, "runs of 1": 1},
        why="An error is no success; that Triton counts it as one is its Python backend's doing.",
    ),
    Case(
        name="the statistics of all models",
        send=Ask("get_inference_statistics"),
        view=lambda response: len(response.model_stats) > 1,
        see=False,
        gateway=True,
        triton=True,
        why="A worker has one model.",
    ),
)
