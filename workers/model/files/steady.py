"""Whether the work of a model's run follows from the sizes of its inputs, as its graph shows.

A loop whose count is an input, or a tensor whose length is one, takes as long as its caller likes: such a
model is not *steady*, and what its runs took says nothing of the next one. Rules:

- Subgraphs (loops, branches) and functions in the file are not looked into: a graph with one is not steady.
- A few operators make tensors whose length is a value. That is steady where the value is in the file, or was
  made from nothing but shapes.
- All other operators do work that their inputs' sizes bound.

Source: ONNX "Operator Schemas".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["is_steady"]

#: Operators that make as much as a value says, and which of their inputs that is.
_SIZED_BY = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1),
    "OneHot": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Tile": (1, 2),
    "Upsample": (1,),
}
#: What they answer follows from sizes, whatever the values.
_OF_SHAPES = ("Shape", "Size")


def is_steady(graph: Any, functions: Collection[tuple[str, str]]) -> bool:
    """Tell whether a run's work follows from the sizes of its inputs.

    Args:
        graph: The model's graph, in the order of computation.
        functions: Domain and name of the functions in the file.
    """
    # also those that have a default: a request may replace it
    values = {tensor.name for tensor in graph.input}
    for node in graph.node:
        if (node.domain, node.op_type) in functions or any(
            a.HasField("g") or a.graphs for a in node.attribute
        ):
            return False
        sized_by = _SIZED_BY.get(node.op_type, ())
        if any(name in values for i, name in enumerate(node.input) if i in sized_by):
            return False
        if node.op_type not in _OF_SHAPES and any(name in values for name in node.input):
            values.update(node.output)
    return True
