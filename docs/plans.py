"""What ``accord check --graph`` shows of the page on graphs' own example, between that page's markers."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from accord.graph import svg
from accord.graph.drawing import drawing
from accord.graph.layout import layout
from accord.graph.shown import show
from accord.graph.text import tree
from gateway.config import Config
from gateway.engine.compile import compile_ensemble
from protos.model import ModelSpec
from protos.tensor import TensorSpec

if TYPE_CHECKING:
    from gateway.engine.plan import Plan

__all__ = ["page", "picture"]

PAGE = Path(__file__).parent / "graphs.md"
BEGIN, END = "<!-- plan: begin -->", "<!-- plan: end -->"
_WORDS = TensorSpec("tokens", "INT64", (-1, 256))
_PROBABILITIES = TensorSpec("probabilities", "FP32", (-1, 3))
_READ = [{"member": member, "output": "probabilities"} for member in ("words", "letters")]
_CONFIG = {
    "models": {name: {"worker": {"repository": "models"}} for name in ("words", "letters", "meta")},
    "ensembles": {
        "polarity": {
            "strategy": {"kind": "tasks", "prefix": False},
            "members": [
                {"model": "words"},
                {"model": "letters"},
                {"model": "meta", "inputs": {"features": {"stack": _READ}}},
            ],
        }
    },
}


def page() -> str:
    """Return the page on graphs, its plan renewed."""
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    stream = StringIO()
    Console(file=stream, width=80).print(tree(show(_plan())))
    return f"{head}{BEGIN}\n```text\n{stream.getvalue().strip()}\n```\n{END}{tail}"


def picture() -> str:
    """Return its picture."""
    return svg.draw([layout(drawing(show(_plan())))])


def _plan() -> Plan:
    def model(name: str, *inputs: TensorSpec) -> ModelSpec:
        return ModelSpec(
            name=name,
            version="1",
            platform="onnxruntime_onnx",
            inputs=inputs,
            outputs=(_PROBABILITIES,),
            max_rows=256,
            independent=True,
        )

    features = TensorSpec("features", "FP32", (-1, 6))
    specs = {name: model(name, _WORDS) for name in ("words", "letters")} | {"meta": model("meta", features)}
    return compile_ensemble(Config.model_validate(_CONFIG), "polarity", specs)[0]
