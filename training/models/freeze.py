"""Which weights are trained: freezing by layers, from the input on, or by patterns of names."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["freeze"]


def freeze(model: Any, what: int | Sequence[str]) -> None:
    """Freeze a part of a model and train the rest.

    Args:
        model: With an ``encoder`` that has ``layers``.
        what: The number of layers, embeddings included unless it is 0; or patterns of parameter names.

    Raises:
        TrainingError: If there are fewer layers, or a pattern matches nothing, or nothing is left to train.
    """
    names = dict(model.named_parameters())
    if isinstance(what, int):
        layers = model.encoder.layers
        if what > len(layers):
            raise TrainingError("encoder.freeze", f"{what} layers, the encoder has {len(layers)}", "lower it")
        # what is neither in a later layer nor in a head stands before the layers, or is one of the first
        later = {id(p) for layer in layers[what:] for p in layer.parameters()}
        later |= {id(p) for p in model.heads.parameters()}
        fixed = {name for name, p in names.items() if what and id(p) not in later}
        model.encoder.frozen = what
    else:
        fixed = set()
        for pattern in what:
            found = {name for name in names if fnmatchcase(name, pattern)}
            if not found:
                raise TrainingError(
                    "encoder.freeze",
                    f"{pattern!r} matches no parameter",
                    f"names are like {next(iter(names))!r}",
                )
            fixed |= found
        model.encoder.frozen = 0
    if len(fixed) == len(names):
        raise TrainingError("encoder.freeze", "nothing is left to train", "freeze less")
    for name, parameter in names.items():
        parameter.requires_grad_(name not in fixed)
