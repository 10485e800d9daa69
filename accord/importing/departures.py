"""What a Triton ensemble is that ours is not: why it cannot be one here, and what differs if it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.importing.graph import steps_of
from accord.importing.values import Note

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from accord.importing.values import Found
    from protos.model import ModelSpec

__all__ = ["departures", "never", "obstacles"]

#: Most members of an ensemble, as the configuration's schema has it.
MAX_MEMBERS = 64
_STEP = "ensemble_scheduling.step"
_NOTHING = "nothing, if that is well"


def never(found: Found, repository: Mapping[str, Found]) -> tuple[str, str] | None:
    """Return the field for which not even Triton's answers can be passed on, and what it means; else None.

    Args:
        found: A model, or an ensemble, which is as its models are.
        repository: All models by name.
    """
    if found.config.model_transaction_policy.decoupled:
        return (
            "model_transaction_policy.decoupled",
            "it answers any number of times, and a call has one answer",
        )
    if found.config.HasField("sequence_batching"):
        return "sequence_batching", "a sequence must stay at one instance, and nothing here sees to that"
    below = (never(repository[step.model], repository) for step in steps_of(found.config))
    return next((each for each in below if each is not None), None)


def obstacles(
    found: Found, repository: Mapping[str, Found], ensembles: Container[str], models: Container[str]
) -> Iterator[Note]:
    """Yield why an ensemble cannot be one here, other than by a field of its own.

    Args:
        found: The ensemble.
        repository: All models by name.
        ensembles: The ensembles that are carried over so far.
        models: The models that are.
    """
    steps, name = steps_of(found.config), found.name
    if missing := [s for s in steps if s.model not in ensembles and s.model not in models]:
        yield Note(name, _STEP, f"it needs {missing[0].model!r}, which is left out", "see there")
    if len(steps) > MAX_MEMBERS:
        yield Note(name, _STEP, f"it has more than {MAX_MEMBERS} steps", "nest some of them in an ensemble")
    if len({spec.batches for spec in _leaves(found, repository, ensembles)}) > 1:
        meaning = "some of its models batch and some do not, and here an ensemble does either"
        yield Note(name, "max_batch_size", meaning, "let all of them batch, or none")
    given = {tensor.name for tensor in found.config.input}
    if through := [tensor.name for tensor in found.config.output if tensor.name in given]:
        meaning = f"{through[0]!r} is input and output at once, and here only members answer"
        yield Note(name, "output", meaning, "leave the output out: the caller has it")
    for where, own in _unmapped(found, repository):
        if own in given:
            meaning = f"{where} would get the request's {own!r}, which it does not map"
            yield Note(name, f"{_STEP}.input_map", meaning, "rename the ensemble's input")


def departures(found: Found, repository: Mapping[str, Found], ensembles: Container[str]) -> Iterator[Note]:
    """Yield what differs for the callers of an ensemble that is carried over; see :func:`obstacles`."""
    yield from _of_rows(found, list(_leaves(found, repository, ensembles)))
    for where, own in _unmapped(found, repository):
        meaning = f"a request may carry {own!r} for {where}, which Triton would refuse"
        yield Note(found.name, f"{_STEP}.input_map", meaning, _NOTHING)
    optional: dict[str, list[bool]] = {}
    for step in steps_of(found.config):
        spec = repository[step.model].spec
        for entry in spec.inputs if spec else ():
            optional.setdefault(step.inputs.get(entry.name, ""), []).append(entry.optional)
    for tensor in found.config.input:
        dispensable = optional.get(tensor.name, [tensor.optional])
        if tensor.optional and not all(dispensable):
            meaning = f"without {tensor.name!r} the members that need it are not asked, where Triton fails"
            yield Note(found.name, "input.optional", meaning, _NOTHING)
        if not tensor.optional and all(dispensable):
            meaning = f"a request may leave out {tensor.name!r}, because its models can do without"
            yield Note(found.name, "input.optional", meaning, _NOTHING)


def _of_rows(found: Found, specs: list[ModelSpec]) -> Iterator[Note]:
    limit, rows = found.config.max_batch_size, min((spec.max_rows for spec in specs), default=0)
    if rows > limit:
        beyond = f"more than {limit} rows, up to {rows}," if limit else f"any number of rows up to {rows}"
        meaning = f"requests of {beyond} are taken, as its models take them"
        yield Note(found.name, "max_batch_size", meaning, "set max_rows on the models, if callers rely on it")
    elif limit and specs and not rows:
        meaning = "its models do not batch, so it does not: each request is a call by itself"
        yield Note(found.name, "max_batch_size", meaning, "let the models batch")


def _unmapped(found: Found, repository: Mapping[str, Found]) -> Iterator[tuple[str, str]]:
    """Yield the optional inputs that steps leave out, each after its step."""
    for step in steps_of(found.config):
        spec = repository[step.model].spec
        for own in spec.inputs if spec else ():
            if own.name not in step.inputs:
                yield str(step), own.name


def _leaves(found: Found, repository: Mapping[str, Found], ensembles: Container[str]) -> Iterator[ModelSpec]:
    """Yield what is known of the models below an ensemble; one that is asked elsewhere is a model."""
    for step in steps_of(found.config):
        below = repository[step.model]
        if step.model in ensembles:
            yield from _leaves(below, repository, ensembles)
        elif below.spec is not None:
            yield below.spec
