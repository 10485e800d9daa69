"""The plan of one model under its own name: a single seat, whose answer is the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config.schema import Quorum
from gateway.engine.mixing import may_mix
from gateway.engine.plan import Call, Merge, Plan, Reading, Seat
from gateway.engine.wiring import with_rows
from gateway.strategies.first import First
from protos.errors import Cause

if TYPE_CHECKING:
    from gateway.config.schema import Config
    from protos.model import ModelSpec

__all__ = ["compile_model", "most_rows"]


def compile_model(config: Config, name: str, spec: ModelSpec | None, version: str = "") -> Plan:
    """Compile the plan that serves one model under its own name: a single seat whose answer is the answer.

    Args:
        config: The configuration.
        name: The model.
        spec: What is known of it; None = nothing yet.
        version: The version that it asks for, of those that the specification names; empty = none.
    """
    calls: tuple[Call, ...] = ()
    readings: tuple[Reading, ...] = ()
    if spec is not None:
        readings = tuple(Reading(source=s.name, spec=with_rows(s, spec)) for s in spec.outputs)
        inputs = tuple((s.name, s.name) for s in spec.inputs)
        outputs = tuple(r.source for r in readings)
        mixes = may_mix(config.models[name], spec)
        calls = (Call(model=name, inputs=inputs, outputs=outputs, version=version, mixes=mixes),)
    seat = Seat(
        name=name,
        target=name,
        source=calls[0] if calls else None,
        weight=1.0,
        required=True,  # so that its own failure, not a quorum, is what the caller is told
        timeout_s=None,
        readings=readings,
        barred=None if calls else Cause.MEMBER_NOT_READY,
        problem="" if calls else "its model is not known yet",
    )
    merge = Merge(
        name=name,
        strategy=First(),
        seats=(seat,),
        quorum=Quorum(count=1),
        nonfinite="pass",
        deadline_s=None,
        outputs=tuple(r.spec for r in readings),
    )
    return Plan(
        name=name,
        version=version or (spec.version if spec else ""),
        kind="",
        merge=merge,
        calls=calls,
        inputs=spec.inputs if spec else (),
        max_rows=most_rows(config, name, spec) if spec else 0,
        deadline_s=config.server.deadline_s,
    )


def most_rows(config: Config, name: str, spec: ModelSpec) -> int:
    """Return the most rows of one call to a model; 0 if it does not batch."""
    return (config.models[name].max_rows or spec.max_rows) if spec.batches else 0
