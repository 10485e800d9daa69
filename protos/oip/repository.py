"""Triton's repository extension: which models there are, and loading and unloading them.

Of a load's parameters none is offered: ``config`` and ``file:`` would let a call bring a model of its own,
and a model comes from the repository on disk only. There is one repository, without a name.

Source: Triton "Model Repository" extension.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from protos.errors import AccordError, Reason
from protos.oip.wire import messages

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Entry", "State", "check_load", "index_response", "unloads_dependents"]


class State(Enum):
    """Whether a version is served, in Triton's words."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in the repository index.

    Args:
        version: Its number; empty where none is known.
        state: Whether it is served.
        reason: Why it is not; empty where there is nothing to say.
    """

    version: str
    state: State
    reason: str = ""


def index_response(request: Any, models: Iterable[tuple[str, Iterable[Entry]]]) -> Any:
    """Build a ``RepositoryIndexResponse``.

    Args:
        request: A ``RepositoryIndexRequest``; its ``ready`` leaves out what is not.
        models: Names, and what is known of the versions of each.

    Raises:
        AccordError: UNSUPPORTED for a named repository.
    """
    _check_repository(request)
    response = messages.RepositoryIndexResponse()
    for name, entries in models:
        for entry in entries:
            if entry.state is State.READY or not request.ready:
                response.models.add(
                    name=name, version=entry.version, state=entry.state.value, reason=entry.reason
                )
    return response


def check_load(request: Any) -> None:
    """Check a ``RepositoryModelLoadRequest``.

    Raises:
        AccordError: UNSUPPORTED for a named repository or for a parameter, with its field.
    """
    _check_repository(request)
    for key in request.parameters:
        raise AccordError(
            Reason.UNSUPPORTED,
            f"load parameter {key[:64]!r} is not offered; put config and model files into the repository",
            field=f"parameters[{key[:64]!r}]",
        )


def unloads_dependents(request: Any) -> bool:
    """Read a ``RepositoryModelUnloadRequest``: whether what the model is made of is unloaded as well.

    Raises:
        AccordError: UNSUPPORTED for a named repository; PARAMETER_INVALID, with its field.
    """
    _check_repository(request)
    for key, value in request.parameters.items():
        if key != "unload_dependents" or value.WhichOneof("parameter_choice") != "bool_param":
            raise AccordError(
                Reason.PARAMETER_INVALID,
                f"unload parameter {key[:64]!r} is unknown, or not a boolean; there is unload_dependents",
                field=f"parameters[{key[:64]!r}]",
            )
    # looking up a missing key of a message map would put it there
    return "unload_dependents" in request.parameters and request.parameters["unload_dependents"].bool_param


def _check_repository(request: Any) -> None:
    if request.repository_name:
        raise AccordError(
            Reason.UNSUPPORTED,
            "there is one repository, without a name; leave repository_name empty",
            field="repository_name",
        )
