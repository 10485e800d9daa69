"""From recipes to exports: the part that both families of models share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from examples.models.export import check_parity, to_onnx
from examples.models.fit import Recipe, Rows, choose
from examples.models.repository import Export

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from protos.tensor import TensorSpec

__all__ = ["Data", "Family", "make"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A data set, split.

    Args:
        inputs: The parts' inputs, by part name (``train``, ``validation``, ``test``).
        targets: The parts' targets, by task and part name.
        held_out: The test rows, as they are saved.
        card: Name, licence, hash and sizes, for the models' cards.
    """

    inputs: Mapping[str, Any]
    targets: Mapping[str, Mapping[str, NDArray[Any]]]
    held_out: Mapping[str, NDArray[Any]]
    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Models that are made from one data set.

    Args:
        source: The input of all of them.
        max_rows: Most rows of one call.
        data: The data set.
        recipes: How to make each.
    """

    source: TensorSpec
    max_rows: int
    data: Data
    recipes: tuple[Recipe, ...]


def make(family: Family, recipe: Recipe) -> Export:
    """Fit a model, convert it and prove that the conversion is faithful on the validation rows.

    Raises:
        ExampleError: If the exported model answers otherwise than the fitted one.
    """
    inputs, targets = family.data.inputs, family.data.targets[recipe.task]
    train, validation = (Rows(inputs[part], targets[part]) for part in ("train", "validation"))
    # threads that wait for each other spin, and their number would change the last bits of a fit
    with threadpool_limits(1):
        fitted = choose(recipe, train, validation)
    onnx = to_onnx(fitted.pipeline, family.source, recipe.outputs)
    parity = check_parity(recipe.name, onnx, fitted.pipeline, family.source, validation.inputs)
    card = {
        "task": recipe.task,
        "data": family.data.card,
        "features": repr(recipe.features),
        "learner": repr(recipe.learner),
        "chosen": fitted.chosen.parameters,
        "validation": fitted.chosen.measures,
        "tried": [{"parameters": trial.parameters, **trial.measures} for trial in fitted.tried],
        "parity": asdict(parity),
    }
    return Export(
        name=recipe.name,
        onnx=onnx,
        source=family.source,
        outputs=recipe.outputs,
        max_rows=family.max_rows,
        card=card,
    )
