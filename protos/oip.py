"""The Open Inference Protocol: its messages, and their translation to and from tensors.

This is the only module that imports tritonclient's generated modules: they are the one copy of the
protocol in the process, so that any client or server library of the protocol can live beside us.
Sources: KServe "Open Inference Protocol" v2 gRPC; Triton ``grpc_service.proto``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as model_config
from tritonclient.grpc import service_pb2 as messages

from protos.errors import AccordError, Reason
from protos.tensor import DTYPES, Tensor, TensorFault, TensorSpec, checked_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "METHODS",
    "SERVICE",
    "Parameter",
    "check_inputs",
    "check_walk",
    "check_wanted",
    "messages",
    "model_config",
    "model_metadata",
    "read_inputs",
    "read_metadata",
    "read_outputs",
    "read_parameters",
    "timeout_s",
    "write_inputs",
    "write_outputs",
    "write_parameters",
]

SERVICE = "inference.GRPCInferenceService"

#: Names of all methods of the service, those we do not offer included.
METHODS = frozenset(
    method.name for method in messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
)

#: Most elements of a request's BYTES or typed tensor: these are read one by one, which holds up all others.
MAX_WALK = 2**19

#: A request or response parameter's value.
Parameter = bool | int | str | float

_TYPED_FIELD = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_TYPED_FIELDS = tuple(dict.fromkeys(_TYPED_FIELD.values()))


def read_inputs(request: Any) -> dict[str, Tensor]:
    """Read the tensors of a ``ModelInferRequest``, raw or typed, and check each by itself.

    Returns:
        Tensors by name, in request order.

    Raises:
        AccordError: INPUT_UNKNOWN (given twice), TENSOR_ENCODING_CONFLICT, DTYPE_MISMATCH,
            SHAPE_MISMATCH or TENSOR_SIZE_MISMATCH; the field names the tensor's index.
    """
    raws = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise AccordError(
            Reason.TENSOR_SIZE_MISMATCH,
            f"raw_input_contents has {len(raws)} entries for {len(request.inputs)} inputs; send one each",
            field="raw_input_contents",
        )
    tensors: dict[str, Tensor] = {}
    for i, (message, raw) in enumerate(
        zip(request.inputs, raws or [None] * len(request.inputs), strict=True)
    ):
        if message.name in tensors:
            raise AccordError(
                Reason.INPUT_UNKNOWN,
                f"input {message.name[:64]!r} is given twice; send it once",
                field=f"inputs[{i}].name",
            )
        if any(key.startswith("shared_memory") for key in message.parameters):
            raise AccordError(
                Reason.UNSUPPORTED,
                "shared memory is not offered; send the tensor in the message",
                field=f"inputs[{i}].parameters",
            )
        try:
            check_walk(message.name, message.datatype, message.shape, typed=raw is None)
            tensors[message.name] = _read_tensor(message, raw)
        except TensorFault as fault:
            part = {"DTYPE_MISMATCH": ".datatype", "SHAPE_MISMATCH": ".shape"}.get(fault.reason, "")
            raise AccordError.of_fault(fault, f"inputs[{i}]{part}") from None
    return tensors


def check_walk(name: str, datatype: str, shape: Sequence[int], *, typed: bool) -> None:
    """Refuse a tensor whose very many elements would have to be walked one by one.

    Raises:
        TensorFault: SHAPE_MISMATCH, or what :func:`protos.tensor.checked_count` finds.
    """
    if (typed or datatype == "BYTES") and checked_count(name, datatype, shape) > MAX_WALK:
        problem = (
            f"has more than {MAX_WALK} elements, which only a raw tensor of fixed-size elements may have"
        )
        raise TensorFault("SHAPE_MISMATCH", name, f"{problem}; send it raw, or in parts")


def read_outputs(response: Any) -> dict[str, Tensor]:
    """Read the tensors of a ``ModelInferResponse``.

    Raises:
        TensorFault: If the answer breaks a rule of the protocol.
    """
    raws = response.raw_output_contents
    if raws and len(raws) != len(response.outputs):
        raise TensorFault("TENSOR_SIZE_MISMATCH", "", "raw_output_contents and outputs differ in number")
    pairs = zip(response.outputs, raws or [None] * len(response.outputs), strict=True)
    return {message.name: _read_tensor(message, raw) for message, raw in pairs}


def _read_tensor(message: Any, raw: bytes | None) -> Tensor:
    if raw is None:
        return _read_typed(message)
    if message.HasField("contents"):
        raise TensorFault(
            "TENSOR_ENCODING_CONFLICT",
            message.name,
            "has typed contents beside raw_input_contents; send one form",
        )
    return Tensor.from_raw(message.name, message.datatype, message.shape, raw)


def _read_typed(message: Any) -> Tensor:
    name, datatype = message.name, message.datatype
    count = checked_count(name, datatype, message.shape)
    if datatype not in _TYPED_FIELD:
        raise TensorFault(
            "TENSOR_ENCODING_CONFLICT", name, f"is {datatype}, which has no typed form; send it raw"
        )
    field = _TYPED_FIELD[datatype]
    filled = [other for other in _TYPED_FIELDS if len(getattr(message.contents, other))]
    if filled not in ([], [field]):
        raise TensorFault(
            "TENSOR_ENCODING_CONFLICT",
            name,
            f"is {datatype}, so its elements belong in {field}, not {filled[0]}",
        )
    values = getattr(message.contents, field)
    if len(values) != count:
        raise TensorFault(
            "TENSOR_SIZE_MISMATCH",
            name,
            f"has {len(values)} elements, but shape {list(message.shape)} needs {count}",
        )
    if datatype == "BYTES":
        flat = np.empty(count, object)
        flat[:] = list(values)
        return Tensor.from_array(flat.reshape(tuple(message.shape)))
    wide = np.array(values, {"i": "i8", "u": "u8"}.get(DTYPES[datatype].kind, DTYPES[datatype]))
    array = wide.astype(DTYPES[datatype])
    if DTYPES[datatype].kind in "iu" and (array != wide).any():
        raise TensorFault("DTYPE_MISMATCH", name, f"has an element outside the range of {datatype}")
    return Tensor.from_array(array.reshape(tuple(message.shape)))


def check_inputs(
    inputs: Mapping[str, Tensor], specs: Sequence[TensorSpec], *, model: str, batches: bool, max_rows: int
) -> int:
    """Check a request's tensors against what a model takes.

    Args:
        inputs: Tensors by name, in request order (the order gives the field's index).
        specs: What the model takes.
        model: The model's name, for the error.
        batches: Whether the first dimension of every input is the row dimension.
        max_rows: The most rows of one call, where the model batches.

    Returns:
        The number of rows; 1 where the model does not batch.

    Raises:
        AccordError: INPUT_MISSING, INPUT_UNKNOWN, DTYPE_MISMATCH or SHAPE_MISMATCH.
    """
    meta = {"model": model}
    known = {spec.name: spec for spec in specs}
    missing = [s.name for s in specs if not s.optional and s.name not in inputs]
    for i, (name, tensor) in enumerate(inputs.items()):
        spec = known.get(name)
        if spec is None:
            raise AccordError(
                Reason.INPUT_UNKNOWN,
                f"{model!r} has no input {name[:64]!r}; it takes {_names(known)}",
                field=f"inputs[{i}].name",
                metadata=meta,
            )
        if tensor.datatype != spec.datatype:
            raise AccordError(
                Reason.DTYPE_MISMATCH,
                f"input {name!r} of {model!r} is {spec.datatype}, got {tensor.datatype}",
                field=f"inputs[{i}].datatype",
                metadata=meta,
            )
        if not spec.accepts(tensor.shape):
            raise AccordError(
                Reason.SHAPE_MISMATCH,
                f"input {name!r} of {model!r} takes shape {list(spec.shape)} (-1 = any length), "
                f"got {list(tensor.shape)}",
                field=f"inputs[{i}].shape",
                metadata=meta,
            )
    if missing:
        raise AccordError(
            Reason.INPUT_MISSING,
            f"{model!r} needs input {missing[0]!r}; it takes {_names(known)}",
            field="inputs",
            metadata=meta,
        )
    if not batches:
        return 1
    for (a, first), (b, second) in pairwise(inputs.items()):
        if first.shape[0] != second.shape[0]:
            raise AccordError(
                Reason.SHAPE_MISMATCH,
                f"inputs {a!r} and {b!r} of {model!r} have {first.shape[0]} and {second.shape[0]} rows; "
                "all inputs must have the same number",
                field="inputs",
                metadata=meta,
            )
    rows = next(iter(inputs.values())).shape[0] if inputs else 0
    if rows > max_rows:
        raise AccordError(
            Reason.SHAPE_MISMATCH,
            f"{model!r} takes at most {max_rows} rows per call, got {rows}; send them in parts",
            field="inputs",
            metadata=meta,
        )
    return rows


def check_wanted(wanted: Sequence[str], outputs: Iterable[str], *, model: str) -> None:
    """Check that each wanted output exists and is named once.

    Raises:
        AccordError: INPUT_UNKNOWN, with the field of the wrong name.
    """
    known = list(outputs)
    for i, name in enumerate(wanted):
        if name not in known or name in wanted[:i]:
            problem = "is wanted twice" if name in known else f"is not an output of {model!r}"
            raise AccordError(
                Reason.INPUT_UNKNOWN,
                f"output {name[:64]!r} {problem}; it returns {_names(known)}",
                field=f"outputs[{i}].name",
                metadata={"model": model},
            )


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names)


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Parameter]:
    """Read an ``InferParameter`` map into plain values.

    Raises:
        AccordError: PARAMETER_INVALID for a parameter without a value.
    """
    values: dict[str, Parameter] = {}
    for key, message in parameters.items():
        kind = message.WhichOneof("parameter_choice")
        if kind is None:
            raise AccordError(
                Reason.PARAMETER_INVALID,
                f"parameter {key[:64]!r} has no value",
                field=f"parameters[{key[:64]!r}]",
            )
        values[key] = getattr(message, kind)
    return values


def timeout_s(parameters: Mapping[str, Parameter]) -> float | None:
    """Return the budget that the ``timeout`` parameter gives, in seconds.

    The parameter counts microseconds; 0 means none. Source: Triton "Schedule Policy" extension.

    Raises:
        AccordError: PARAMETER_INVALID if it is not a non-negative integer.
    """
    value = parameters.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise AccordError(
            Reason.PARAMETER_INVALID,
            "parameter 'timeout' must be a non-negative integer of microseconds",
            field="parameters['timeout']",
        )
    return value / 1e6 if value else None


def write_parameters(parameters: Any, values: Mapping[str, Parameter]) -> None:
    """Write plain values into an ``InferParameter`` map."""
    for key, value in values.items():
        match value:
            case bool():
                parameters[key].bool_param = value
            case int():
                parameters[key].int64_param = value
            case float():
                parameters[key].double_param = value
            case str():
                parameters[key].string_param = value


def write_inputs(request: Any, inputs: Mapping[str, Tensor]) -> None:
    """Append tensors to a ``ModelInferRequest`` in raw form."""
    for name, tensor in inputs.items():
        request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(bytes(tensor.raw))


def write_outputs(response: Any, outputs: Mapping[str, Tensor]) -> None:
    """Append tensors to a ``ModelInferResponse``, always raw: tritonclient reads nothing else."""
    for name, tensor in outputs.items():
        response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(bytes(tensor.raw))


def model_metadata(
    name: str,
    versions: Sequence[str],
    platform: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> Any:
    """Build a ``ModelMetadataResponse``; shapes include the row dimension."""
    response = messages.ModelMetadataResponse(name=name, versions=versions, platform=platform)
    for target, specs in ((response.inputs, inputs), (response.outputs, outputs)):
        for spec in specs:
            target.add(name=spec.name, datatype=spec.datatype, shape=spec.shape)
    return response


def read_metadata(tensors: Iterable[Any]) -> tuple[TensorSpec, ...]:
    """Read the tensors of a ``ModelMetadataResponse``."""
    return tuple(TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in tensors)
