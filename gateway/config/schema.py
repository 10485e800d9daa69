"""The configuration as values: strict, frozen, every key described (``docs/config.md`` is made from it)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.config.scalars import (
    MAX_WEIGHT,
    SEAT_NAME,
    AdminAddress,
    Directory,
    File,
    Header,
    HeaderValue,
    HostPort,
    Name,
    Passed,
    Processes,
    Seconds,
    Target,
    Version,
)
from protos.address import Address

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Config",
    "Ensemble",
    "InProcess",
    "Member",
    "MemberOutput",
    "MemberTls",
    "Model",
    "Oip",
    "Overridable",
    "Quorum",
    "Server",
    "Source",
    "Strategy",
    "Worker",
]

Overridable = Literal["members", "quorum", "weights", "strategy"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _or_plain(datatype: str) -> Callable[[dict[str, Any]], None]:
    """Let the JSON Schema of a section take the plain value that it may be written as."""

    def widen(schema: dict[str, Any]) -> None:
        section = dict(schema)
        schema.clear()
        schema["anyOf"] = [{"type": datatype}, section]

    return widen


class Server(_Section):
    """The server itself."""

    address: HostPort = "127.0.0.1:8001"
    """Where gRPC listens: `host:port`; port 0 takes a free one."""
    metrics: HostPort = "127.0.0.1:8002"
    """Where the read-only HTTP port listens: `/metrics`, `/healthz`, `/readyz`."""
    edge: Literal["auto", "grpc"] = "auto"
    """Which edge serves: `grpc` is the pure Python one; `auto` takes the best there is."""
    processes: Processes = 1
    """Gateway processes that share address and workers; `auto`: the CPUs that the workers' threads leave."""
    deadline_s: Seconds = 30.0
    """Budget of a call to a model or ensemble that sets none: both cap and default."""
    max_request_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 60 * 1024 * 1024
    """Largest request message; larger ones are refused with REQUEST_TOO_LARGE."""
    max_bytes_in_flight: Annotated[int, Field(ge=1024)] = 512 * 1024 * 1024
    """Bytes of all request messages that a process holds at once; more are refused with OVERLOADED."""
    max_in_flight: Annotated[int, Field(ge=1)] = 1000
    """Calls that a process admits at once; more are refused with OVERLOADED."""
    max_linger_s: Annotated[float, Field(ge=0, le=1)] = 0.005
    """Longest time that a request waits for others to ride in one batch with it; alone it never waits."""
    max_batch_bytes: Annotated[int, Field(ge=1024, le=32 * 1024 * 1024)] = 16 * 1024 * 1024
    """Most bytes of a batch's inputs; a request that is larger goes alone."""
    pass_metadata: Annotated[tuple[Passed, ...], Field(max_length=5)] = ()
    """Call metadata that members get too, such as `x-tenant`; trace context and request id always go."""
    response_compression: Literal["none", "gzip", "deflate"] = "none"
    """How answers are compressed for clients that take it; requests may be compressed anyway."""
    admin: AdminAddress = ""
    """Where calls that change the server are taken: `unix:PATH` or a loopback `host:port`; default: none."""
    admin_token: File | None = None
    """File with the token that such calls must bring (`authorization: Bearer ...`); a port needs one."""
    reflection: bool | None = None
    """Whether gRPC reflection is served; by default only when the address is a loopback one."""
    drain_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """Seconds that calls in flight get to finish at shutdown."""

    @model_validator(mode="after")
    def _admin_guarded(self) -> Server:
        address = Address.parse(self.admin) if self.admin else None
        if address is not None and address.socket_path is None:
            if not address.is_local:
                raise ValueError("admin must be a unix socket or a loopback address: calls are not encrypted")
            if self.admin_token is None:
                raise ValueError("admin is a port, so admin_token must name a file with the token")
        if address is None and self.admin_token is not None:
            raise ValueError("admin_token has no effect without admin; set admin, or leave it out")
        return self


class Worker(_Section):
    """A model hosted by worker processes of this machine."""

    repository: Directory
    """Model repository in Triton's layout; relative to this file."""
    model: Name | None = None
    """The model's folder in the repository; default: the model's name here."""
    version: Version = ""
    """The one version to serve; default: as `version_policy` of the model's config says, else the highest."""
    instances: Annotated[int, Field(ge=1, le=64)] | None = None
    """Worker processes that share the calls; default: as `instance_group` of the model's config says."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of one instance; default: the CPU quota divided by all instances of this file."""
    providers: tuple[Literal["tensorrt", "cuda", "cpu"], ...] = ()
    """Execution providers in order of preference, of which those not installed are passed over; default:
    TensorRT where the model's config names it, CUDA, CPU."""
    poll_s: Annotated[float, Field(ge=0.1, le=86_400)] | None = None
    """How often to look for changed files and new versions, which then take over; default: never."""
    require_digests: bool = False
    """Whether a version without `SHA256SUMS` is refused."""


class InProcess(_Section):
    """A small model inside the gateway process, whose crash would be the gateway's (see the members page)."""

    repository: Directory
    """Model repository in Triton's layout; relative to this file."""
    model: Name | None = None
    """The model's folder in the repository; default: the model's name here."""
    version: Version = ""
    """The version to serve; default: the highest that `version_policy` of the model's config allows."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one operator; more than one pays for models that do not belong in here."""
    providers: Annotated[tuple[Literal["tensorrt", "cuda", "cpu"], ...], Field(min_length=1)] = ("cpu",)
    """Execution providers in order of preference, of which those not installed are passed over."""
    require_digests: bool = False
    """Whether a version without `SHA256SUMS` is refused."""


class MemberTls(_Section):
    """TLS towards a server; `tls: {}` trusts the system's authorities."""

    ca: File | None = None
    """Authorities that may have signed the server's certificate, PEM; default: the system's."""
    cert: File | None = None
    """The gateway's own certificate, PEM, where the server asks for one (mutual TLS)."""
    key: File | None = None
    """Its key, PEM, without a passphrase."""
    server_name: str = ""
    """The name in the server's certificate, where it is not the host of the target."""

    @model_validator(mode="after")
    def _consistent(self) -> MemberTls:
        if (self.cert is None) != (self.key is None):
            raise ValueError("needs both cert and key, or neither")
        self.verify()
        return self

    def verify(self) -> None:
        """Check that the files hold what they should.

        Raises:
            ValueError: If they do not, or the key is not the certificate's.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if self.ca is not None:
                context.load_verify_locations(self.ca)
        except (OSError, ValueError):
            raise ValueError("ca holds no certificate in PEM form") from None
        try:
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, password="")
        except (OSError, ValueError):
            raise ValueError("cert and key are no certificate with its key in PEM form") from None


class Oip(_Section):
    """A model behind another server of the Open Inference Protocol (see the members page)."""

    targets: tuple[Target, ...]
    """Its replicas: `host:port`, `unix:PATH`, or `dns:///host:port`, each of whose addresses is a replica."""
    model: Name | None = None
    """The model's name there; default: its name here."""
    version: Version = ""
    """The version to ask for; default: the server's choice. An answer of another one is not used."""
    resolve_s: Seconds = 5.0
    """How often `dns:///` targets are looked up; also at once when all replicas are down."""
    tls: MemberTls | None = None
    """Encrypt, and say who may be trusted; default: no TLS."""
    metadata: dict[Header, HeaderValue] = Field(default_factory=dict)
    """Sent with every call, by name."""
    secret_metadata: dict[Header, File] = Field(default_factory=dict)
    """Likewise, with values from files, such as `{authorization: token.txt}`; read again when they change."""

    @model_validator(mode="after")
    def _named_once(self) -> Oip:
        if not self.targets:
            raise ValueError("targets needs at least 1")
        twice = self.metadata.keys() & self.secret_metadata.keys()
        if twice:
            raise ValueError(f"{min(twice)!r} stands in both metadata and secret_metadata; give it once")
        return self


class Model(_Section):
    """A model and where it runs: exactly one of `worker`, `inprocess` and `oip`."""

    worker: Worker | None = None
    """Host it in worker processes."""
    inprocess: InProcess | None = None
    """Host it in the gateway process."""
    oip: Oip | None = None
    """Ask another server."""
    expose: bool = True
    """Whether it is also served under its own name."""
    max_rows: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Most rows of one call; default: what the model's own config says, else 256."""
    mix: bool | None = None
    """Whether rows of different requests may ride in one call; default: whether the model proved that a row's
    answer does not depend on its neighbours (for `oip`: or its server batches dynamically)."""

    @model_validator(mode="after")
    def _one_backend(self) -> Model:
        if [self.worker, self.inprocess, self.oip].count(None) != 2:
            raise ValueError("needs exactly one of worker, inprocess, oip")
        return self

    @property
    def local(self) -> Worker | InProcess | None:
        """Where its files are, if we host it."""
        return self.worker or self.inprocess


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

    model_config = ConfigDict(json_schema_extra=_or_plain("integer"))

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


class MemberOutput(_Section):
    """An output of another member of the same ensemble."""

    member: str
    """The seat that is read."""
    output: str
    """The output, under the name that the model or ensemble in that seat gives it."""


class Source(_Section):
    """Where a member's tensor comes from: exactly one of `request`, `member` with `output`, and `stack`."""

    model_config = ConfigDict(json_schema_extra=_or_plain("string"))

    request: str | None = None
    """A tensor of the request; written as a plain name, `x: pixels`."""
    member: str | None = None
    """Another member of the ensemble, which is then asked first."""
    output: str | None = None
    """That member's output."""
    stack: Annotated[tuple[MemberOutput, ...], Field(min_length=1, max_length=64)] | None = None
    """Outputs of several members side by side along the last axis, as one feature matrix."""

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: object) -> object:
        return {"request": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        kinds = [self.request, self.member, self.stack]
        if kinds.count(None) != len(kinds) - 1 or (self.member is None) != (self.output is None):
            raise ValueError(
                "must be a request's tensor, {member: ..., output: ...}, "
                "or {stack: [{member: ..., output: ...}]}"
            )
        return self

    @property
    def reads(self) -> tuple[MemberOutput, ...]:
        """The members' outputs that it is made of."""
        if self.member is not None and self.output is not None:
            return (MemberOutput(member=self.member, output=self.output),)
        return self.stack or ()


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
    inputs: dict[str, Source] = Field(default_factory=dict)
    """Where its tensors come from: `{member tensor: request tensor}` where names differ, and
    `{member tensor: {member: encoder, output: embedding}}` to read another member."""
    outputs: dict[str, str] = Field(default_factory=dict)
    """Where names differ: `{ensemble tensor: member tensor}`; default: all under their own names."""
    counts: bool | None = None
    """Whether its answer counts in the merge; default: if no other member reads it."""

    @property
    def reads(self) -> frozenset[str]:
        """The seats that it reads."""
        return frozenset(read.member for source in self.inputs.values() for read in source.reads)

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
    optional_inputs: tuple[str, ...] = ()
    """Request tensors that may be absent: members that need one, directly or not, are then not asked."""

    @property
    def counting(self) -> tuple[bool, ...]:
        """Whether each member counts in the merge."""
        read = frozenset[str]().union(*(member.reads for member in self.members))
        return tuple(m.seat not in read if m.counts is None else m.counts for m in self.members)


class Config(_Section):
    """A gateway: its server, its models and its ensembles."""

    server: Server = Server()
    """The server itself."""
    models: dict[Name, Model]
    """Models by name."""
    ensembles: dict[Name, Ensemble] = Field(default_factory=dict)
    """Ensembles by name; models and ensembles share one namespace."""
