"""The configuration as values: strict, frozen, every key described (``docs/config.md`` is made from it)."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - pydantic reads annotations at run time
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

__all__ = [
    "MAX_WEIGHT",
    "Config",
    "Ensemble",
    "Member",
    "Model",
    "Oip",
    "Overridable",
    "Quorum",
    "Server",
    "Strategy",
    "Worker",
]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
SEAT_NAME = r"^[A-Za-z0-9_-]{1,64}$"

Name = Annotated[str, Field(pattern=NAME)]
#: Largest weight of a seat: sums of such weights cannot overflow.
MAX_WEIGHT = 1e9

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Overridable = Literal["members", "quorum", "weights", "strategy"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _version(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Version = Annotated[str, BeforeValidator(_version), Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")]


class Server(_Section):
    """The server itself."""

    address: str = "127.0.0.1:8001"
    """Where gRPC listens: `host:port`; port 0 takes a free one."""
    metrics: str = "127.0.0.1:8002"
    """Where the read-only HTTP port listens: `/metrics`, `/healthz`, `/readyz`."""
    edge: Literal["auto", "grpc"] = "auto"
    """Which edge serves: `grpc` is the pure Python one; `auto` takes the best there is."""
    deadline_s: Seconds = 30.0
    """Budget of a call to a model or ensemble that sets none: both cap and default."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 60 * 1024 * 1024
    """Largest request message; larger ones are refused with REQUEST_TOO_LARGE."""
    max_in_flight: Annotated[int, Field(ge=1)] = 1000
    """Calls admitted at once; more are refused with OVERLOADED."""
    reflection: bool | None = None
    """Whether gRPC reflection is served; by default only when the address is a loopback one."""
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """Seconds that calls in flight get to finish at shutdown."""

    @field_validator("address", "metrics")
    @classmethod
    def _host_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if not (colon and host and port.isdigit() and int(port) < 65536):
            raise ValueError("must be host:port, e.g. 127.0.0.1:8001")
        return value


class Worker(_Section):
    """A model hosted by worker processes of this machine."""

    repository: Path
    """Model repository in Triton's layout; relative to this file."""
    model: Name | None = None
    """The model's folder in the repository; default: the model's name here."""
    version: Version = ""
    """The version to serve; default: the highest."""
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Worker processes that share the calls."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of one instance; default: the CPU quota divided by all instances of this file."""
    providers: tuple[Literal["tensorrt", "cuda", "cpu"], ...] = ("tensorrt", "cuda", "cpu")
    """Execution providers in order of preference; those not installed are passed over."""

    @field_validator("repository")
    @classmethod
    def _relative_to_file(cls, value: Path, info: ValidationInfo) -> Path:
        return (info.context["base"] / value).resolve() if info.context else value


class Oip(_Section):
    """A model behind another server of the Open Inference Protocol."""

    targets: Annotated[tuple[str, ...], Field(min_length=1)]
    """Addresses `host:port` of its replicas."""
    model: Name | None = None
    """The model's name there; default: its name here."""
    version: Version = ""
    """The version to ask for; default: the server's choice."""


class Model(_Section):
    """A model and where it runs: exactly one of `worker` and `oip`."""

    worker: Worker | None = None
    """Host it in worker processes."""
    oip: Oip | None = None
    """Ask another server."""
    expose: bool = True
    """Whether it is also served under its own name."""
    max_rows: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Most rows of one call; default: what the model's own config says, else 256."""

    @model_validator(mode="after")
    def _one_backend(self) -> Model:
        if (self.worker is None) == (self.oip is None):
            raise ValueError("needs exactly one of worker, oip")
        return self


class Strategy(BaseModel):
    """How answers merge: `kind` and the options of that kind (see the strategies page)."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    kind: str
    """The strategy's name."""

    @property
    def options(self) -> dict[str, Any]:
        """Everything but the kind."""
        return dict(self.model_extra or {})


class Quorum(_Section):
    """How many usable members an answer needs: a number, or a share of the weight."""

    count: Annotated[int, Field(ge=1)] | None = None
    """At least this many; written as a plain number, `quorum: 2`."""
    weight: Annotated[float, Field(gt=0, le=1)] | None = None
    """At least this share of the asked weight."""

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, value: object) -> object:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Quorum:
        if (self.count is None) == (self.weight is None):
            raise ValueError("must be a number of members, e.g. 2, or {weight: 0.6}")
        return self


class Member(_Section):
    """A seat of an ensemble: exactly one of `model` and `ensemble`."""

    model: Name | None = None
    """The model asked."""
    ensemble: Name | None = None
    """The ensemble asked; its members become part of this plan."""
    name: Annotated[str, Field(pattern=SEAT_NAME)] | None = None
    """The seat's name; default: the model's or ensemble's name."""
    weight: Annotated[float, Field(ge=0, le=MAX_WEIGHT, allow_inf_nan=False)] = 1.0
    """Its weight, for weighted strategies and weight quorums."""
    required: bool = False
    """Whether an answer without it is an error even when the quorum is met."""
    timeout_s: Seconds | None = None
    """How long this seat is waited for; it only shortens the call's budget."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Where names differ: `{member tensor: request tensor}`."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """Where names differ: `{ensemble tensor: member tensor}`; default: all under their own names."""

    @model_validator(mode="after")
    def _one_target(self) -> Member:
        if (self.model is None) == (self.ensemble is None):
            raise ValueError("needs exactly one of model, ensemble")
        return self

    @property
    def target(self) -> str:
        """The model's or ensemble's name."""
        return self.model or self.ensemble or ""

    @property
    def seat(self) -> str:
        """The seat's name."""
        return self.name or self.target


class Ensemble(_Section):
    """Several members, one answer; from outside it looks like a model."""

    version: Version = "1"
    """Its version, as clients see it."""
    strategy: Strategy
    """How its members' answers merge."""
    members: Annotated[tuple[Member, ...], Field(min_length=1, max_length=64)]
    """Its seats."""
    quorum: Quorum | None = None
    """How many usable answers it needs; default: all members."""
    deadline_s: Seconds | None = None
    """Budget of a call: both cap and default; default: the server's."""
    nonfinite: Literal["drop", "pass", "fail"] = "drop"
    """A row with NaN or infinity in a member's output: drop that member for the row, pass it on, or fail."""
    labels: tuple[str, ...] = ()
    """Canonical order of the classes; default: that of the first member that has labels."""
    overrides: tuple[Overridable, ...] = ()
    """What a request may override."""


class Config(_Section):
    """A gateway: its server, its models and its ensembles."""

    server: Server = Server()
    """The server itself."""
    models: dict[Name, Model]
    """Models by name."""
    ensembles: dict[Name, Ensemble] = Field(default_factory=dict)
    """Ensembles by name; models and ensembles share one namespace."""
