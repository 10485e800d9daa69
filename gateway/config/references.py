"""What must hold between the parts of a configuration: names exist, are given once, and lead in no circle."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeAlias

from gateway.config.scalars import SEAT_NAME
from protos.document import hint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.config.schema import Config, Ensemble, Member

__all__ = ["circle", "dangling"]

_Path: TypeAlias = tuple[str | int, ...]
_Complaints: TypeAlias = "Iterator[tuple[_Path, str]]"

#: What has no effect on a member whose answer does not count.
_OF_ANSWERS = ("weight", "required", "outputs")


def dangling(config: Config) -> _Complaints:
    """Yield where a reference does not hold, and why."""
    for name in config.ensembles.keys() & config.models.keys():
        yield ("ensembles", name), "is also the name of a model; models and ensembles share one namespace"
    for name, ensemble in config.ensembles.items():
        here: _Path = ("ensembles", name)
        yield from _of_members(config, ensemble, here)
        yield from _of_edges(ensemble, here)
        if len(set(ensemble.labels)) != len(ensemble.labels):
            yield (*here, "labels"), "name a class twice"
    below = {
        name: [member.ensemble for member in ensemble.members if member.ensemble in config.ensembles]
        for name, ensemble in config.ensembles.items()
    }
    if ring := circle(below):
        yield ("ensembles", ring[0], "members"), f"form a cycle: {' -> '.join(ring)}"


def _of_members(config: Config, ensemble: Ensemble, here: _Path) -> _Complaints:
    seen: set[str] = set()
    for i, member in enumerate(ensemble.members):
        at = (*here, "members", i)
        if member.model and member.model not in config.models:
            wrong = "; it is an ensemble: write ensemble: instead" if member.model in config.ensembles else ""
            instead = wrong or hint(member.model, list(config.models))
            yield (*at, "model"), f"there is no model {member.model!r}{instead}"
        if member.ensemble and member.ensemble not in config.ensembles:
            wrong = "; it is a model: write model: instead" if member.ensemble in config.models else ""
            instead = wrong or hint(member.ensemble, list(config.ensembles))
            yield (*at, "ensemble"), f"there is no ensemble {member.ensemble!r}{instead}"
        if not re.fullmatch(SEAT_NAME, member.seat):
            yield at, f"the seat would be named {member.seat!r}; give it a name: of letters, digits, '-_'"
        if member.seat in seen:
            yield at, f"the seat name {member.seat!r} is taken; give one of the two a name:"
        seen.add(member.seat)
    count = ensemble.quorum.count if ensemble.quorum else None
    counting = sum(ensemble.counting)
    if count is not None and count > counting:
        which = "members" if counting == len(ensemble.members) else "members that count"
        yield (*here, "quorum"), f"is {count}, but there are only {counting} {which}"


def _of_edges(ensemble: Ensemble, here: _Path) -> _Complaints:
    seats = [member.seat for member in ensemble.members]
    read = frozenset[str]().union(*(member.reads for member in ensemble.members))
    for i, member in enumerate(ensemble.members):
        for own, source in member.inputs.items():
            for missing in dict.fromkeys(part.member for part in source.reads if part.member not in seats):
                at = (*here, "members", i, "inputs", own)
                yield at, f"reads member {missing!r}, which is not there{hint(missing, seats, 'members')}"
    for i, (member, counts) in enumerate(zip(ensemble.members, ensemble.counting, strict=True)):
        if not counts:
            yield from _of_feeder(member, (*here, "members", i), used=member.seat in read)
    reads = {member.seat: sorted(member.reads & set(seats)) for member in ensemble.members}
    if ring := circle(reads):
        yield (*here, "members", seats.index(ring[0]), "inputs"), f"form a cycle: {' -> '.join(ring)}"
    elif not any(ensemble.counting):
        yield (*here, "members"), "only feed each other: let one count by counts: true"


def _of_feeder(member: Member, at: _Path, *, used: bool) -> _Complaints:
    if not used:
        yield (*at, "counts"), f"is false, and no member reads {member.seat!r}: it is unused; leave it out"
        return
    for key in _OF_ANSWERS:
        if key in member.model_fields_set:
            yield (
                (*at, key),
                "has no effect on a member that only feeds others; leave it out, or set counts: true",
            )


def circle(below: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return a circle from its least name back to it, or nothing."""
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        # told from what is below upwards, with the first name again at the end
        names = list(reversed(error.args[1]))[1:]
        first = names.index(min(names))
        return (*names[first:], *names[: first + 1])
    return ()
