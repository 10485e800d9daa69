"""Whether rows of different requests may ride in one call to a model.

Rules:

- Whoever wrote the configuration knows best: `mix` decides where it is set.
- Otherwise a model is mixed that was found independent: a row's answer is the same alone and among others.
- A foreign server mixes anyway where its model has ``dynamic_batching``, so its owner allows it.
- What is not known is not mixed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config.schema import Model
    from protos.model import ModelSpec

__all__ = ["may_mix"]


def may_mix(model_config: Model, spec: ModelSpec | None) -> bool:
    """Tell whether rows of different requests may ride in one call.

    Args:
        model_config: What the configuration says of the model.
        spec: What the model says of itself; None = nothing yet.
    """
    if model_config.mix is not None:
        return model_config.mix
    if spec is None:
        return False
    if spec.independent is None and model_config.oip is not None and spec.config is not None:
        return bool(spec.config.HasField("dynamic_batching"))
    return spec.independent is True
