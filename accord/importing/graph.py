"""The graph of a Triton ensemble: its steps, and everything that is wrong with it.

Rules, as Triton checks them when it loads an ensemble:

- A tensor is written once: by the request, or by one output of one step.
- What a step reads is written, and no step waits for itself.
- What is written is read by a step, or is an output of the ensemble; inputs are read, outputs written.
- A step maps each input that its model needs, and names only tensors that the model has.
- Datatypes of both ends are equal, and shapes fit, with or without the row dimension; -1 fits any length.

Sources: Triton core ``ValidateEnsembleSchedulingConfig``, ``ensemble_utils.cc``.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accord.importing.values import Fault
from gateway.config.references import circle
from gateway.engine.wiring import common_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from accord.importing.values import Found
    from protos.model import ModelSpec
    from protos.tensor import TensorSpec

__all__ = ["Step", "faults", "steps_of"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an ensemble.

    Args:
        number: Its place, from 1.
        model: The model asked.
        version: The version asked for; empty = the model's newest.
        inputs: The ensemble's tensor by the model's input.
        outputs: The ensemble's tensor by the model's output.
    """

    number: int
    model: str
    version: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def __str__(self) -> str:
        return f"step {self.number} ({self.model})"


def steps_of(config: Any) -> tuple[Step, ...]:
    """Return the steps of an ensemble's ``ModelConfig``, their maps in order of the models' names."""
    return tuple(
        Step(
            number,
            step.model_name,
            "" if step.model_version == -1 else str(step.model_version),
            dict(sorted(step.input_map.items())),
            dict(sorted(step.output_map.items())),
        )
        for number, step in enumerate(config.ensemble_scheduling.step, 1)
    )


def faults(repository: Mapping[str, Found]) -> list[Fault]:
    """Return everything that is wrong with the ensembles of a repository."""
    ensembles = {name: found for name, found in repository.items() if found.is_ensemble}
    wrong = [fault for found in ensembles.values() for fault in _Checked(found, repository).faults()]
    below = {
        name: [step.model for step in steps_of(found.config) if step.model in ensembles]
        for name, found in ensembles.items()
    }
    if ring := circle(below):
        wrong.append(
            Fault(ring[0], "ensemble_scheduling", f"ensembles form a cycle: {' -> '.join(ring)}; break it")
        )
    return wrong


@dataclass(frozen=True, slots=True)
class _End:
    """One end of an edge: who it is, and what that says of the tensor, if anything."""

    who: str
    spec: TensorSpec | None = None
    batches: bool = False


class _Checked:
    """Checks one ensemble."""

    def __init__(self, found: Found, repository: Mapping[str, Found]) -> None:
        self._name = found.name
        self._config = found.config
        self._spec = found.spec
        self._repository = repository
        self._steps = steps_of(found.config)
        self._writers: dict[str, list[_End]] = defaultdict(list)
        self._readers: dict[str, list[_End]] = defaultdict(list)

    def faults(self) -> Iterator[Fault]:
        if self._config.platform != "ensemble":
            yield self._fault("platform", f"is {self._config.platform!r}; with steps it must be 'ensemble'")
        if not self._steps:
            yield self._fault("ensemble_scheduling", "has no step; add one")
        own = self._ends(self._spec, "inputs")
        for tensor in self._config.input:
            self._writers[tensor.name].append(_End("the request", *own.get(tensor.name, ())))
        for step in self._steps:
            yield from self._of_step(step)
        own = self._ends(self._spec, "outputs")
        for tensor in self._config.output:
            self._readers[tensor.name].append(_End("the ensemble's output", *own.get(tensor.name, ())))
        yield from self._of_tensors()
        yield from self._of_order()

    def _of_step(self, step: Step) -> Iterator[Fault]:
        found = self._repository.get(step.model)
        if found is None:
            known = _hint(step.model, list(self._repository))
            yield self._fault(
                f"{step}, model_name", f"there is no model {step.model!r} in the repository{known}"
            )
        elif step.version and step.version not in found.versions:
            listed = ", ".join(found.versions)
            problem = f"version {step.version} of {step.model!r} is not served: there are {listed}, and -1"
            yield self._fault(f"{step}, model_version", problem)
        sides = (
            ("input_map", "input", step.inputs, self._readers),
            ("output_map", "output", step.outputs, self._writers),
        )
        for field, kind, mapped, ends in sides:
            if not mapped:
                yield self._fault(f"{step}, {field}", "is empty; map one tensor at least")
            spec = found.spec if found else None
            known_ends = self._ends(spec, f"{kind}s")
            for own, tensor in mapped.items():
                if spec is not None and own not in known_ends:
                    problem = f"model {step.model!r} has no {kind} {own!r}{_hint(own, list(known_ends))}"
                    yield self._fault(f"{step}, {field} {own!r}", problem)
                ends[tensor].append(_End(f"{step}, {kind} {own!r}", *known_ends.get(own, ())))
            needed = [t.name for t in spec.inputs if not t.optional] if spec and kind == "input" else []
            for own in [name for name in needed if name not in mapped]:
                problem = f"input {own!r} of model {step.model!r} is mapped to no tensor; add it"
                yield self._fault(f"{step}, {field}", problem)

    def _of_tensors(self) -> Iterator[Fault]:
        for tensor, readers in self._readers.items():
            if tensor not in self._writers:
                for reader in readers:
                    problem = (
                        f"{reader.who} reads it, but no step writes it{_hint(tensor, list(self._writers))}"
                    )
                    yield self._fault(f"tensor {tensor!r}", problem)
        for tensor, writers in self._writers.items():
            for again in writers[1:]:
                problem = f"is written twice: by {writers[0].who} and by {again.who}; rename one"
                yield self._fault(f"tensor {tensor!r}", problem)
            if tensor not in self._readers:
                problem = (
                    f"{writers[0].who} brings it, but no step reads it and it is no output; leave it out"
                )
                yield self._fault(f"tensor {tensor!r}", problem)
            for reader in self._readers.get(tensor, ()):
                if problem := _misfit(writers[0], reader):
                    yield self._fault(f"tensor {tensor!r}", problem)

    def _of_order(self) -> Iterator[Fault]:
        by_tensor = {tensor: step for step in self._steps for tensor in step.outputs.values()}
        reads = {
            str(step): list(dict.fromkeys(str(by_tensor[t]) for t in step.inputs.values() if t in by_tensor))
            for step in self._steps
        }
        if ring := circle(reads):
            yield self._fault("ensemble_scheduling", f"steps form a cycle: {' -> '.join(ring)}; break it")

    def _ends(self, spec: ModelSpec | None, side: str) -> dict[str, tuple[TensorSpec, bool]]:
        return {} if spec is None else {tensor.name: (tensor, spec.batches) for tensor in getattr(spec, side)}

    def _fault(self, where: str, problem: str) -> Fault:
        return Fault(self._name, where, problem)


def _misfit(writer: _End, reader: _End) -> str:
    """Return why one end does not fit the other, or nothing."""
    a, b = writer.spec, reader.spec
    if a is None or b is None:
        return ""
    shapes = (a.shape[writer.batches :], b.shape[reader.batches :]), (a.shape, b.shape)
    if a.datatype == b.datatype and any(common_shape(*pair) is not None for pair in shapes):
        return ""
    have, want = (f"{spec.datatype} {list(spec.shape)}" for spec in (a, b))
    return f"is {have} from {writer.who}, but {want} for {reader.who}"


def _hint(word: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, 1)
    return (
        f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(map(repr, names)) or 'none'}"
    )
