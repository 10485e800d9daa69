"""From a fitted scikit-learn pipeline to an ONNX file that answers the same, or to an error.

A conversion that runs is not yet right: skl2onnx 1.20 turns ``sublinear_tf=True`` into ``log(1 + tf)`` where
scikit-learn means ``1 + log(tf)``, and drops n-grams whose words are not in the vocabulary themselves. So
every export is held against the pipeline on real rows, and refused when it differs.

How the two may differ on text by design: ONNX's ``StringNormalizer`` in locale ``C`` lower-cases ASCII only,
and nothing in ONNX collapses runs of blanks, which scikit-learn's character n-grams do. Texts are therefore
stripped of such runs before training, and the check counts rows with non-ASCII capitals like any other.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx.utils import Extractor
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import is_classifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from examples import ExampleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from protos.tensor import TensorSpec

__all__ = ["Parity", "check_parity", "onnx_input", "session", "to_onnx"]

#: ONNX 1.13 and its machine-learning operators: every runtime that Triton ships since 2023 understands them.
OPSETS = {"": 18, "ai.onnx.ml": 3}

#: The largest share of rows whose label may differ, for near-ties that rounding decides. In practice: none.
MAX_LABELS_DIFFER = 0.001
PROBABILITY_RTOL, PROBABILITY_ATOL = 1e-4, 1e-6

#: A row alone must answer as in a batch of these sizes, so that a server may mix requests.
BATCHES = (2, 8, 32)
BATCH_RTOL, BATCH_ATOL = 1e-5, 1e-6

_ONNX_TYPES = {"FP32": FloatTensorType, "BYTES": StringTensorType}
_RAW_NAMES = {True: ("label", "probabilities"), False: ("score",)}


@dataclass(frozen=True, slots=True)
class Parity:
    """How closely the exported model follows the pipeline.

    Args:
        rows: Rows compared.
        labels_differ: Rows whose label differs.
        max_difference: The largest absolute difference of a probability or score.
    """

    rows: int
    labels_differ: int
    max_difference: float


def to_onnx(pipeline: Pipeline, source: TensorSpec, outputs: Sequence[TensorSpec]) -> bytes:
    """Convert a pipeline whose first step takes ``source`` to a serialised ONNX model.

    Args:
        pipeline: Fitted; ends in a classifier or regressor.
        source: The model's input, FP32 [-1, width] or BYTES [-1, 1].
        outputs: What the model returns: of a classifier ``label`` and ``probabilities`` or one of them, of
            a regressor ``score``. Shapes start with the row dimension.
    """
    plain = Pipeline([(name, _thawed(step)) for name, step in pipeline.steps])
    classifier = is_classifier(pipeline)
    options: dict[int, dict[str, Any]] = {id(plain): {"zipmap": False}} if classifier else {}
    first = plain.steps[0][1]
    if isinstance(first, CountVectorizer):
        # a dot stands for a line feed too; only the locale "C" exists on every machine
        options[id(first)] = {"locale": "C"} | ({"tokenexp": "(?s:.)"} if first.analyzer == "char" else {})
    with warnings.catch_warnings():
        # proven below instead: character n-grams "may not work"; probA_ is only looked at, not used
        warnings.filterwarnings("ignore", "The conversion of CountVectorizer may not work", UserWarning)
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
        raw = convert_sklearn(
            plain,
            initial_types=[(source.name, _onnx_type(source))],
            final_types=[(name, None) for name in _RAW_NAMES[classifier]],
            options=options,
            target_opset=OPSETS,
        )
    model = Extractor(raw).extract_model([source.name], [spec.name for spec in outputs])
    for value, spec in zip(model.graph.output, outputs, strict=True):
        _declare(value, spec)
    for value in model.graph.input:
        _declare(value, source)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def session(model: bytes) -> onnxruntime.InferenceSession:
    """Open a model on one CPU thread, as the example configs serve it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_input(rows: Any, source: TensorSpec) -> NDArray[Any]:
    """Bring rows, as scikit-learn takes them, into the shape and type of a model's input."""
    dtype = np.float32 if source.datatype == "FP32" else object
    return np.asarray(rows, dtype).reshape(len(rows), *source.shape[1:])


def check_parity(name: str, model: bytes, pipeline: Pipeline, source: TensorSpec, rows: Any) -> Parity:
    """Prove on real rows that the model answers as the pipeline does, in batches and row by row.

    Args:
        name: The model's name, for the error.
        model: The serialised ONNX model.
        pipeline: What it was converted from.
        source: The model's input.
        rows: Rows as the pipeline takes them.

    Raises:
        ExampleError: If too many labels differ, a probability or score is too far off, or a row's answer
            depends on its neighbours.
    """
    run, fed = session(model), onnx_input(rows, source)
    wanted = [output.name for output in run.get_outputs()]
    got = _run(run, source.name, fed, wanted, 64)
    differ, farthest = 0, 0.0
    for output, want in _expected(pipeline, rows, wanted).items():
        have = got[output].reshape(want.shape)
        if output == "label":
            differ = max(differ, int((have != want).sum()))
            continue
        farthest = max(farthest, float(np.abs(have - want).max()))
        if output == "probabilities":
            differ = max(differ, int((have.argmax(1) != want.argmax(1)).sum()))
        near = np.isclose(have, want, rtol=PROBABILITY_RTOL, atol=PROBABILITY_ATOL)
        if not near.all():
            rows_off = int((~near).reshape(len(fed), -1).any(axis=1).sum())
            raise ExampleError(
                f"{name}: the exported model's {output} differ from the trained one's "
                f"in {rows_off} of {len(fed)} rows, by up to {farthest:.2g}"
            )
    if differ > MAX_LABELS_DIFFER * len(fed):
        raise ExampleError(
            f"{name}: {differ} of {len(fed)} labels of the exported model differ from the trained one's"
        )
    _check_batches(name, run, source.name, fed[: 2 * max(BATCHES)], wanted)
    return Parity(len(fed), differ, farthest)


def _check_batches(
    name: str, run: onnxruntime.InferenceSession, source: str, fed: NDArray[Any], wanted: list[str]
) -> None:
    alone = _run(run, source, fed, wanted, 1)
    for size in BATCHES:
        together = _run(run, source, fed, wanted, size)
        for output, want in alone.items():
            have = together[output]
            same = (
                np.array_equal(have, want)
                if output == "label"
                else np.allclose(have, want, rtol=BATCH_RTOL, atol=BATCH_ATOL)
            )
            if not same:
                raise ExampleError(
                    f"{name}: in batches of {size} rows the {output} differ from those of rows alone"
                )


def _run(
    run: onnxruntime.InferenceSession, source: str, fed: NDArray[Any], wanted: list[str], size: int
) -> Mapping[str, NDArray[Any]]:
    parts = [run.run(wanted, {source: fed[i : i + size]}) for i in range(0, len(fed), size)]
    return {
        output: np.concatenate(column)
        for output, column in zip(wanted, zip(*parts, strict=True), strict=True)
    }


def _expected(pipeline: Pipeline, rows: Any, wanted: Sequence[str]) -> dict[str, NDArray[Any]]:
    if not is_classifier(pipeline):
        return {"score": pipeline.predict(rows)}
    probabilities = pipeline.predict_proba(rows)
    known = {"probabilities": probabilities, "label": pipeline.classes_[probabilities.argmax(1)]}
    return {output: known[output] for output in wanted}


def _thawed(step: Any) -> Any:
    return step.estimator if isinstance(step, FrozenEstimator) else step


def _onnx_type(spec: TensorSpec) -> Any:
    return _ONNX_TYPES[spec.datatype]([None, *spec.shape[1:]])


def _declare(value: onnx.ValueInfoProto, spec: TensorSpec) -> None:
    """Write a tensor's shape into the graph; some converters leave it open."""
    del value.type.tensor_type.shape.dim[:]
    for length in spec.shape:
        dim = value.type.tensor_type.shape.dim.add()
        if length == -1:
            dim.dim_param = "rows"
        else:
            dim.dim_value = length
