"""Proves a configuration: what its models say of themselves decides whether their answers can be merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engine.compile import compile_ensemble
from gateway.engine.mixing import may_mix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.config import Complaint, Config, Document
    from gateway.engine.compile import Problem
    from gateway.engine.plan import Plan
    from protos.model import ModelSpec

__all__ = ["prove", "warnings"]


def prove(config: Config, document: Document, specs: Mapping[str, ModelSpec | None]) -> list[Complaint]:
    """Return everything that cannot be served as configured, given what is known of the models."""
    problems: dict[Problem, None] = {}
    for name in config.ensembles:
        problems.update(dict.fromkeys(compile_ensemble(config, name, specs)[1]))
    complaints = []
    for problem in problems:
        part: tuple[str | int, ...] = (problem.key,) if problem.seat is None else ("members", problem.seat)
        if problem.input:
            part = (*part, "inputs", problem.input)
        complaints.append(document.complain(("ensembles", problem.ensemble, *part), problem.message))
    return complaints


def warnings(config: Config, specs: Mapping[str, ModelSpec | None]) -> Iterator[str]:
    """Yield what may be as intended, but deserves a look."""
    for name in config.ensembles:
        plan, _ = compile_ensemble(config, name, specs)
        yield from _unlabelled(plan)
    asked = {member.model for ensemble in config.ensembles.values() for member in ensemble.members}
    for name, model in config.models.items():
        if not model.expose and name not in asked:
            yield f"model {name!r} is neither exposed nor a member: nobody can ask it"
        spec = specs[name]
        if spec is not None and spec.independent is False:
            yield _dependent(name, mixed=may_mix(model, spec))


def _dependent(name: str, *, mixed: bool) -> str:
    found = f"model {name!r}: a row's answer depends on the rows beside it"
    if mixed:
        return f"{found}, yet mix: true lets other requests' rows change it; leave mix out, or export it anew"
    return f"{found}, so its requests will not share batches unless mix: true"


def _unlabelled(plan: Plan) -> Iterator[str]:
    """Without labels only widths can be compared, so classes in another order would go unseen."""
    seats = [seat for seat in plan.merge.seats if not seat.barred]
    if plan.kind == "tasks" or len(seats) < 2:
        return
    wide = {
        reading.spec.name
        for seat in seats
        for reading in seat.readings
        if reading.spec.datatype.startswith(("FP", "BF"))
        and len(reading.spec.shape) > 1
        and not reading.spec.labels
    }
    for output in sorted(wide):
        yield f"ensemble {plan.name!r}: {output!r} has no labels; all members must have one class order"
