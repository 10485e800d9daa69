"""What is told of server and models, what is counted, and what changes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from protos.oip import messages
from tests.interop.conformance.case import (
    ADMIN,
    ENSEMBLE,
    EVERYBODY,
    GATEWAY,
    OURS,
    STUB,
    TRITON,
    WORKER,
    Ask,
    Case,
    Growth,
    Infer,
    Refused,
    Rpc,
    Script,
    outputs,
)
from tests.interop.conformance.cases.requests import ONE
from tests.interop.conformance.cases.tensors import X

__all__ = ["CASES"]

_BATCH = Infer(
    "grid", {f"x_{n}": np.ones((3, 2, 3), t) for n, t in (("FP32", np.float32), ("INT32", np.int32))}
)
_BAD = Infer("grid", {"x_FP32": np.ones((1, 2, 3), np.float32)})
_SHARED = Refused("UNIMPLEMENTED", "UNSUPPORTED", text="not mapped")
_WHY_SHARED = "Shared memory of clients is not mapped: the message says why, and what to do instead."


def _nothing(_answer: Any) -> None:
    return None


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


def _states(response: Any) -> dict[str, tuple[str, str]]:
    return {f"{m.name} {m.version}": m.state for m in response.models if m.name in ("parked", "versions")}


_TYPE = messages.ModelConfigResponse.DESCRIPTOR.fields_by_name["config"].message_type.file.enum_types_by_name[
    "DataType"
]
_NUMBER = {name: _TYPE.values_by_name[f"TYPE_{name}"].number for name in ("FP32", "INT32")}

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
    # description
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
    ),
    Case(
        name="a model's config",
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
    # statistics
    Case(
        name="the statistics of two requests of three rows",
        send=Growth("grid", (_BATCH, _BATCH)),
        see={
            "rows": 6,
            "runs": 2,
            "success": 2,
            "queue": 2,
            "compute_infer": 2,
            "runs of 3": 2,
        },  # fmt: skip
        view=lambda grown: grown,
    ),
    Case(
        name="the statistics of a refused request",
        send=Growth("grid", (_BAD,)),
        see={"fail": 1},
        view=lambda grown: grown,
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
    # settings
    Case(
        name="the log settings",
        send=Ask("get_log_settings"),
        view=lambda response: sorted(response.settings),
        see=["log_error", "log_file", "log_format", "log_info", "log_verbose_level", "log_warning"],
    ),
    Case(
        name="the log settings are changed",
        send=Ask("update_log_settings", "", ({"log_verbose_level": 0},)),
        view=lambda response: response.settings["log_verbose_level"].uint32_param,
        see=Refused("PERMISSION_DENIED", "MODEL_FORBIDDEN"),
        triton=0,
        on=(GATEWAY, ENSEMBLE, TRITON),
        why="Whoever may ask models may not change what is logged; the admin address takes such calls.",
    ),
    Case(
        name="the log settings are changed where calls may change the server",
        send=Ask("update_log_settings", "", ({"log_verbose_level": 0},)),
        view=lambda response: response.settings["log_verbose_level"].uint32_param,
        see=0,
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="the trace settings",
        send=Ask("get_trace_settings", "parked"),
        view=lambda response: list(response.settings["trace_level"].value),
        see=["OFF"],
    ),
    Case(
        name="the trace settings are changed",
        send=Ask("update_trace_settings", "parked", ({"trace_level": "TIMESTAMPS"},)),
        view=lambda response: list(response.settings["trace_level"].value),
        see=Refused("UNIMPLEMENTED", "UNSUPPORTED"),
        triton=["TIMESTAMPS"],
        why="No spans are recorded here; W3C trace context is passed on.",
    ),
    # repository
    Case(
        name="the repository's index",
        send=Ask("get_model_repository_index"),
        view=_states,
        see={"parked 1": "READY", "versions 1": "READY", "versions 3": "READY"},
        on=(ADMIN, TRITON),
    ),
    Case(
        name="a model is unloaded, asked and loaded",
        send=Script(
            (
                (Ask("unload_model", "parked"), _nothing),
                (Ask("is_model_ready", "parked"), bool),
                (Infer("parked", ONE), outputs),
                (Ask("load_model", "parked"), _nothing),
                (Infer("parked", ONE), outputs),
            )
        ),
        see=[None, False, Refused("UNAVAILABLE", "MODEL_NOT_READY"), None, {"y": [[4, 6]]}],
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="an unknown model is loaded",
        send=Ask("load_model", "nobody"),
        view=_nothing,
        see=Refused("NOT_FOUND", "MODEL_NOT_FOUND"),
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="an unknown model is unloaded",
        send=Ask("unload_model", "nobody"),
        view=_nothing,
        see=Refused("NOT_FOUND", "MODEL_NOT_FOUND"),
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="a model is loaded with a config of the caller's",
        send=Ask("load_model", "parked", (), {"config": "{}"}),
        view=_nothing,
        see=Refused("UNIMPLEMENTED", "UNSUPPORTED"),
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="a model is unloaded by a caller who may only ask",
        send=Ask("unload_model", "parked"),
        view=_nothing,
        see=Refused("UNIMPLEMENTED", "UNSUPPORTED"),
        on=(GATEWAY, ENSEMBLE),
    ),
    # shared memory
    *(
        Case(
            name=f"`{method}`",
            send=Ask(method, "", arguments),
            view=_nothing,
            see=_SHARED,
            triton=theirs,
            why=_WHY_SHARED,
        )
        for method, arguments, theirs in (
            ("get_system_shared_memory_status", (), None),
            ("get_cuda_shared_memory_status", (), None),
            ("register_system_shared_memory", ("r", "/nothing-of-this-name", 8), Refused("INVALID_ARGUMENT")),
            ("unregister_system_shared_memory", (), None),
            ("unregister_cuda_shared_memory", (), None),
        )
    ),
)
