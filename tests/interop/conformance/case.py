"""What a case of the conformance suite is: something sent, and what a client sees of each server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protos.oip import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

__all__ = [
    "ADMIN",
    "ENSEMBLE",
    "EVERYBODY",
    "GATEWAY",
    "OURS",
    "SEEN_AS_WORKER",
    "STUB",
    "TRITON",
    "TRITONCLIENT",
    "WORKER",
    "Answer",
    "Ask",
    "Cancel",
    "Case",
    "Ends",
    "Growth",
    "Infer",
    "Refused",
    "Rpc",
    "Script",
    "Stream",
    "Together",
    "fits",
    "outputs",
]

#: The servers: a worker, a model under its own name behind a gateway, an ensemble of that model alone, the
#: gateway's address for calls that change it, and Triton.
WORKER, GATEWAY, ENSEMBLE, ADMIN, TRITON = "worker", "gateway", "ensemble", "admin", "triton"
OURS = (WORKER, GATEWAY, ENSEMBLE)
EVERYBODY = (*OURS, TRITON)

#: The clients: tritonclient's two, unmodified, and bare gRPC for what they refuse to send or do not show.
TRITONCLIENT, STUB = ("sync", "aio"), ("stub",)


@dataclass(frozen=True, slots=True)
class Infer:
    """One inference.

    Args:
        model: The model.
        inputs: Tensors by name.
        wanted: Names of outputs, or pairs of a name and a number of classes; empty for all, as tensors.
        options: What tritonclient's ``infer`` takes besides.
    """

    model: str
    inputs: Mapping[str, np.ndarray[Any, Any]]
    wanted: Sequence[str | tuple[str, int]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of any other of tritonclient's methods.

    Args:
        method: Its name.
        model: The model it is about; empty for none.
        arguments: Its other positional arguments.
        options: Its keyword arguments.
    """

    method: str
    model: str = ""
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rpc:
    """A message as it stands; ``data`` goes in its place where it must not even be one.

    Args:
        method: The protocol's method.
        message: The request.
        data: Other bytes to send.
        service: Another service's full name.
        answer: The type of its answers.
    """

    method: str
    message: Any
    data: bytes | None = None
    service: str = SERVICE
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one stream; what is seen is one outcome for each.

    Args:
        asks: The requests, or for bare gRPC messages.
        headers: The call's metadata.
    """

    asks: Sequence[Infer | Rpc]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cancel:
    """An inference that its client takes back.

    Args:
        ask: The inference.
        after_s: When.
    """

    ask: Infer
    after_s: float


@dataclass(frozen=True, slots=True)
class Together:
    """Inferences at once; what is seen is every status that any of them was refused with.

    Args:
        asks: The inferences.
    """

    asks: Sequence[Infer]


@dataclass(frozen=True, slots=True)
class Growth:
    """Inferences; what is seen is by how much the model's statistics grew.

    Args:
        model: The model.
        asks: The inferences.
    """

    model: str
    asks: Sequence[Infer]


@dataclass(frozen=True, slots=True)
class Script:
    """Calls in a row; what is seen is the outcome of each, as its own view tells it.

    Args:
        steps: The calls, each with its view.
    """

    steps: Sequence[tuple[Any, Callable[[Any], Any]]]


@dataclass(frozen=True, slots=True)
class Refused:
    """An error.

    Args:
        code: The gRPC status; empty for an error inside a stream, which has none.
        reason: Accord's reason. What an expected error leaves empty is not compared.
        field: The request's field that Accord finds at fault.
        text: Something that the message says.
    """

    code: str
    reason: str = ""
    field: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An inference's answer.

    Args:
        message: As it came.
        outputs: Tensors by name, as the client decodes them.
    """

    message: Any
    outputs: Mapping[str, np.ndarray[Any, Any]]


def fits(expected: Any, found: Any) -> bool:
    """Tell whether what was seen is what was expected."""
    match expected:
        case Refused():
            return (
                isinstance(found, Refused)
                and expected.code == found.code
                and expected.reason in ("", found.reason)
                and expected.field in ("", found.field)
                and expected.text in found.text
            )
        case list():
            return isinstance(found, list) and len(expected) == len(found) and all(map(fits, expected, found))
    return bool(expected == found)


@dataclass(frozen=True, slots=True)
class Ends:
    """The end of the server's process."""


def outputs(answer: Answer) -> dict[str, Any]:
    """View an answer as its tensors' elements."""
    return {name: array.tolist() for name, array in answer.outputs.items()}


class _AsWorker:
    """What stands for "the same as a worker's", so that None can be an outcome."""


SEEN_AS_WORKER = _AsWorker()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table.

    Args:
        name: What is sent, in a few words.
        send: The same, exactly.
        view: What of a success is looked at.
        see: What is seen of a worker, and of all others for which nothing else is said.
        gateway: What is seen of a gateway, be it a model or an ensemble.
        ensemble: What is seen of an ensemble.
        triton: What is seen of Triton.
        why: Why Triton's outcome is another, and ours on purpose.
        of: The extension of the protocol that it shows to work, in Triton's words; empty for none.
        on: The servers.
        by: The clients.
    """

    name: str
    send: Any
    view: Any = outputs
    see: Any
    gateway: Any = SEEN_AS_WORKER
    ensemble: Any = SEEN_AS_WORKER
    triton: Any = SEEN_AS_WORKER
    why: str = ""
    of: str = ""
    on: Sequence[str] = EVERYBODY
    by: Sequence[str] = TRITONCLIENT

    @property
    def deviates(self) -> bool:
        """Whether Triton is asked too, and any server of ours is expected to differ from it."""
        theirs = self.expected(TRITON)
        return TRITON in self.on and any(
            _without_details(self.expected(server)) != theirs for server in self.on if server != TRITON
        )

    def expected(self, server: str) -> Any:
        """Return what is seen of a server."""
        for name in {ENSEMBLE: ("ensemble", "gateway"), TRITON: ("triton",), WORKER: ()}.get(
            server, ("gateway",)
        ):
            own = getattr(self, name)
            if own is not SEEN_AS_WORKER:
                return own
        return _without_details(self.see) if server == TRITON else self.see


def _without_details(outcome: Any) -> Any:
    """Leave of errors what Triton has of them too: the status."""
    match outcome:
        case Refused():
            return Refused(outcome.code)
        case list():
            return [_without_details(one) for one in outcome]
    return outcome
