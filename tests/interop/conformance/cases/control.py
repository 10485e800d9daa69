"""What changes a server: log and trace settings, its repository, and shared memory, which it refuses."""

from __future__ import annotations

from typing import Any

from protos.oip import messages
from tests.interop.conformance.case import (
    ADMIN,
    ENSEMBLE,
    GATEWAY,
    SEEN_AS_WORKER,
    STUB,
    TRITON,
    WORKER,
    Ask,
    Case,
    Infer,
    Refused,
    Rpc,
    Script,
    outputs,
)
from tests.interop.conformance.cases.requests import ONE, WHY_SHARED

__all__ = ["CASES"]

_SHARED = Refused("UNIMPLEMENTED", "UNSUPPORTED", text="not mapped")


def _log_setting(name: str, value: bool | str) -> Rpc:
    message = messages.LogSettingsRequest()
    setattr(message.settings[name], "bool_param" if isinstance(value, bool) else "string_param", value)
    return Rpc("LogSettings", message)


def _parked(response: Any) -> dict[str, bool]:
    """Return whether the index has the model's versions as ready."""
    return {m.version: m.state == "READY" for m in response.models if m.name == "parked"}


def _nothing(_answer: Any) -> None:
    return None


def _states(response: Any) -> dict[str, str]:
    return {f"{m.name} {m.version}": m.state for m in response.models if m.name in ("parked", "versions")}


CASES = (
    # settings
    Case(
        name="the log settings",
        of="logging",
        send=Ask("get_log_settings"),
        view=lambda response: sorted(response.settings),
        see=["log_error", "log_file", "log_format", "log_info", "log_verbose_level", "log_warning"],
    ),
    *(
        Case(
            name=f"the log setting {name!r} is set to {value!r}",
            send=_log_setting(name, value),
            view=_nothing,
            see=Refused("INVALID_ARGUMENT", "PARAMETER_INVALID"),
            triton=theirs,
            why=why,
            on=(WORKER, ADMIN, TRITON),
            by=STUB,
        )
        for name, value, theirs, why in (
            ("nothing", True, None, "A slip in the name must not look like success."),
            (
                "log_file",
                "/tmp/log",
                Refused("UNIMPLEMENTED"),
                "All settings that no call changes are refused alike.",
            ),
            ("log_info", "yes", SEEN_AS_WORKER, ""),
            ("log_format", "x", SEEN_AS_WORKER, ""),
        )
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
        send=Ask("update_trace_settings", "parked", ({"trace_rate": "7"},)),
        view=lambda response: list(response.settings["trace_rate"].value),
        see=Refused("UNIMPLEMENTED", "UNSUPPORTED"),
        triton=["7"],
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
        of="model_repository",
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
        triton=[None, False, Refused("NOT_FOUND"), None, {"y": [[4, 6]]}],
        why="A model that is known and not there may come back, so a retry may help.",
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="an unknown model is loaded",
        triton=Refused("INTERNAL"),
        why="No such model is no fault of the server's.",
        send=Ask("load_model", "nobody"),
        view=_nothing,
        see=Refused("NOT_FOUND", "MODEL_NOT_FOUND"),
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="an unknown model is unloaded",
        triton=None,
        why="A slip in the name must not look like success.",
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
        triton=Refused("INVALID_ARGUMENT"),
        why="A model comes from the repository only. Triton takes a caller's; this one it finds incomplete.",
        on=(WORKER, ADMIN, TRITON),
    ),
    Case(
        name="a model is unloaded by a caller who may only ask",
        send=Ask("unload_model", "parked"),
        view=_nothing,
        see=Refused("UNIMPLEMENTED", "UNSUPPORTED"),
        on=(GATEWAY, ENSEMBLE),
    ),
    Case(
        name="the index of a model that is unloaded, whole and of what is ready",
        send=Script(
            (
                (
                    Rpc("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="parked")),
                    _nothing,
                ),
                (Rpc("RepositoryIndex", messages.RepositoryIndexRequest()), _parked),
                (Rpc("RepositoryIndex", messages.RepositoryIndexRequest(ready=True)), _parked),
                (
                    Rpc("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="parked")),
                    _nothing,
                ),
                (Rpc("RepositoryIndex", messages.RepositoryIndexRequest(ready=True)), _parked),
            )
        ),
        see=[None, {"1": False}, {}, None, {"1": True}],
        on=(ADMIN, TRITON),
        by=STUB,
    ),
    Case(
        name="a model is unloaded with what it is made of",
        of="model_repository(unload_dependents)",
        send=Script(
            (
                (Ask("unload_model", "parked", (), {"unload_dependents": True}), _nothing),
                (Ask("is_model_ready", "parked"), bool),
                (Ask("load_model", "parked"), _nothing),
                (Ask("is_model_ready", "parked"), bool),
            )
        ),
        see=[None, False, None, True],
        on=(WORKER, ADMIN, TRITON),
        by=("sync",),
    ),
    Case(
        name="the index of a repository with a name",
        send=Rpc("RepositoryIndex", messages.RepositoryIndexRequest(repository_name="other")),
        view=_nothing,
        see=Refused("UNIMPLEMENTED", "UNSUPPORTED", "repository_name"),
        on=(ADMIN, TRITON),
        by=STUB,
    ),
    # shared memory
    *(
        Case(
            name=f"`{method}`",
            send=Ask(method, "", arguments),
            view=_nothing,
            see=_SHARED,
            triton=theirs,
            why=WHY_SHARED,
        )
        for method, arguments, theirs in (
            ("get_system_shared_memory_status", (), None),
            ("get_cuda_shared_memory_status", (), None),
            ("register_system_shared_memory", ("r", "/nothing-of-this-name", 8), Refused("INTERNAL")),
            ("register_cuda_shared_memory", ("r", b"aGFuZGxl", 0, 8), Refused("INVALID_ARGUMENT")),
            ("unregister_system_shared_memory", (), None),
            ("unregister_cuda_shared_memory", (), None),
        )
    ),
)
