"""A Triton repository as a configuration of ours. Pure: what is read from disk stands in :class:`Found`.

Rules:

- An ONNX model that a worker can host is hosted; any other is asked at the Triton that is named, or left out.
- An ensemble is a ``tasks`` ensemble without prefixes: each step a member, what steps read of each other
  edges. Not-a-number passes, as it does in Triton.
- An ensemble that cannot be said here is asked at that Triton as a whole, or left out, and so is what needs
  it.
- Whatever is not the same afterwards has a note.
"""

from __future__ import annotations

import re
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any

from accord.importing.departures import departures, never, obstacles
from accord.importing.fields import Fate, entry_of
from accord.importing.graph import faults, steps_of
from accord.importing.values import BrokenGraphs, Imported, Note
from gateway.config.scalars import NAME
from workers.model import fields as of_models

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from accord.importing.graph import Step
    from accord.importing.values import Found

__all__ = ["translate"]

_NOT_OF_SEATS = re.compile(r"[^A-Za-z0-9_-]")
_SEAT_LENGTH = 64
#: Letters of a model's name in that of one of its versions: with the version they stay a valid name.
_STEM = 100


def translate(
    repository: Mapping[str, Found],
    *,
    folder: str,
    triton: str = "",
    refused: Mapping[str, str] | None = None,
) -> Imported:
    """Translate a repository.

    Args:
        repository: Its models by name.
        folder: Where it lies, as the configuration is to say it.
        triton: Where a Triton serves it, ``host:port``; empty = nowhere.
        refused: Why ensembles cannot be served here, by name, as far as that was found out otherwise.

    Raises:
        BrokenGraphs: If Triton would not load an ensemble either.
    """
    if wrong := faults(repository):
        raise BrokenGraphs(wrong)
    return _Translation(repository, folder, triton, refused or {}).whole()


class _Translation:
    """One translation; sections grow in the order in which they may refer to each other."""

    def __init__(
        self, repository: Mapping[str, Found], folder: str, triton: str, refused: Mapping[str, str]
    ) -> None:
        self._repository = repository
        self._folder = folder
        self._triton = triton
        self._refused = refused
        self._models: dict[str, dict[str, Any]] = {}
        self._ensembles: dict[str, dict[str, Any]] = {}
        self._notes: list[Note] = []

    def whole(self) -> Imported:
        for found in self._repository.values():
            if not found.is_ensemble:
                self._model(found)
        ensembles = {name: found for name, found in self._repository.items() if found.is_ensemble}
        below = {
            name: [step.model for step in steps_of(found.config) if step.model in ensembles]
            for name, found in ensembles.items()
        }
        for name in TopologicalSorter(below).static_order():
            self._ensemble(ensembles[name])
        return Imported(models=self._models, ensembles=self._ensembles, notes=tuple(self._notes))

    def _model(self, found: Found) -> None:
        if not re.fullmatch(NAME, found.name):
            self._misnamed(found)
        elif not found.unfit:
            self._models[found.name] = {"worker": {"repository": self._folder}}
            self._notes += _idle(found)
        elif lost := never(found, self._repository):
            path, meaning = lost
            remedy = "keep it on Triton and ask it there yourself"
            self._notes.append(Note(found.name, path, meaning, remedy, left_out=True))
        else:
            field = "backend" if "backend" in found.unfit else ""
            self._elsewhere(found, [Note(found.name, field, found.unfit, "")])

    def _ensemble(self, found: Found) -> None:
        entries = dict(map(entry_of, of_models.said(found.config)))
        lost, stops = (
            [Note(found.name, path, e.text, e.remedy) for path, e in entries.items() if e.fate is fate]
            for fate in (Fate.LOST, Fate.STOPS)
        )
        stops += obstacles(found, self._repository, self._ensembles, self._models)
        if found.name in self._refused:
            stops.append(Note(found.name, "", self._refused[found.name], "change the models or the ensemble"))
        if not re.fullmatch(NAME, found.name):
            self._misnamed(found)
        elif stops:
            self._elsewhere(found, stops)
        else:
            self._notes += [*_policy(found, lost), *departures(found, self._repository, self._ensembles)]
            self._ensembles[found.name] = self._members(found)

    def _elsewhere(self, found: Found, why: list[Note]) -> None:
        """Ask Triton for a model or an ensemble as a whole, or leave it out."""
        askable = not never(found, self._repository)
        if self._triton and askable:
            self._models[found.name] = {"oip": {"targets": [self._triton]}}
            for note in why:
                meaning = f"{note.meaning}; it is asked at {self._triton}"
                self._notes.append(replace(note, meaning=meaning, remedy="keep that Triton running"))
            return
        for note in why:
            remedies = [note.remedy, "name the Triton that serves it by --triton" if askable else ""]
            self._notes.append(replace(note, remedy=", or ".join(filter(None, remedies)), left_out=True))

    def _misnamed(self, found: Found) -> None:
        meaning = "a name is of letters, digits, '-._' here, and begins with one of the first two"
        self._notes.append(Note(found.name, "", meaning, "rename its directory", left_out=True))

    def _members(self, found: Found) -> dict[str, Any]:
        steps = steps_of(found.config)
        seats = _seats(steps)
        writers = {tensor: (seats[s.number], own) for s in steps for own, tensor in s.outputs.items()}
        read = {tensor for step in steps for tensor in step.inputs.values()}
        returned = [tensor.name for tensor in found.config.output]
        optional = [tensor.name for tensor in found.config.input if tensor.optional]
        members = []
        for step in steps:
            outputs = {t: own for t in returned for own, tensor in step.outputs.items() if tensor == t}
            members.append(self._member(step, seats[step.number], writers, outputs))
            if outputs and read & set(step.outputs.values()):
                members[-1]["counts"] = True
        version = found.versions[-1]
        return {
            **({"version": version} if version != "1" else {}),
            "strategy": {"kind": "tasks", "prefix": False},
            "nonfinite": "pass",
            **({"optional_inputs": optional} if optional else {}),
            "members": members,
        }

    def _member(
        self, step: Step, seat: str, writers: Mapping[str, tuple[str, str]], outputs: dict[str, str]
    ) -> dict[str, Any]:
        kind = "ensemble" if step.model in self._ensembles else "model"
        target = self._pinned(step) if step.version and kind == "model" else step.model
        inputs: dict[str, Any] = {}
        for own, tensor in step.inputs.items():
            if tensor in writers:
                member, output = writers[tensor]
                inputs[own] = {"member": member, "output": output}
            elif own != tensor:
                inputs[own] = tensor
        return {
            kind: target,
            **({"name": seat} if seat != target else {}),
            **({"inputs": inputs} if inputs else {}),
            **({"outputs": outputs} if outputs else {}),
        }

    def _pinned(self, step: Step) -> str:
        """Return the model entry for one version of a model, made if it is not there."""
        name = f"{step.model[:_STEM]}-{step.version}"
        while name in self._repository:
            name += "_"
        (kind, backend), *_ = self._models[step.model].items()
        self._models[name] = {
            kind: {**backend, "model": step.model, "version": step.version},
            "expose": False,
        }
        return name


def _idle(found: Found) -> Iterator[Note]:
    """Yield a note for each field of a model that changes nothing in a worker."""
    paths = of_models.without_effect(of_models.said(found.config))
    for path in dict.fromkeys(of_models.entry_of(path) or path for path in paths):
        text = of_models.FIELDS[path].text if path in of_models.FIELDS else "it has no meaning here"
        meaning = f"no effect in a worker: {text.removesuffix('.')}"
        yield Note(found.name, path, meaning, "nothing, if that is well")


def _policy(found: Found, lost: list[Note]) -> list[Note]:
    """Return the notes, without the one of a policy that only ever served one version."""
    single = len(found.versions) == 1
    return [note for note in lost if not (single and note.field.startswith("version_policy"))]


def _seats(steps: tuple[Step, ...]) -> dict[int, str]:
    """Return a seat's name for each step, by its number: the model's, with a number where it is taken."""
    plain = {step.number: _NOT_OF_SEATS.sub("-", step.model)[:_SEAT_LENGTH] for step in steps}
    seats: dict[int, str] = {}
    for number, name in plain.items():
        seat, again = name, 1
        while seat in seats.values() or (again > 1 and seat in plain.values()):
            again += 1
            seat = f"{name[: _SEAT_LENGTH - 3]}-{again}"
        seats[number] = seat
    return seats
