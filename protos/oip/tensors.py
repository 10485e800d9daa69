"""Tensors of requests and answers: raw or typed contents to :class:`Tensor` and back.

Rules (Open Inference Protocol v2; Triton's binary tensor extension):

- Raw and typed contents do not mix, and raw entries stand in the order of the tensors.
- FP16 and BF16 have no typed form.
- What we write is raw, because tritonclient reads nothing else; a plain stub may ask for typed contents.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError, Reason
from protos.oip.parameters import CONTENTS
from protos.oip.wire import SHARED_MEMORY_REFUSED, messages
from protos.tensor import DTYPES, Tensor, TensorFault, checked_count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = [
    "MAX_ANSWER_BYTES",
    "MAX_TENSORS",
    "MAX_WALK",
    "check_answer",
    "check_number",
    "check_walk",
    "raw_inputs",
    "read_inputs",
    "read_outputs",
    "write_inputs",
    "write_outputs",
]

#: Most elements of a request's BYTES or typed tensor: these are read one by one, which holds up all others.
MAX_WALK = 2**19
#: Most inputs, and most outputs, that a request may name: each is looked at, which holds up all others too.
MAX_TENSORS = 1024
#: Most bytes of an answer's tensors. gRPC ends a message at 64 MiB; the rest is for all else in it.
MAX_ANSWER_BYTES = 63 * 1024 * 1024

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


def read_inputs(request: Any, raws: Sequence[bytes | memoryview] | None = None) -> dict[str, Tensor]:
    """Read the tensors of a ``ModelInferRequest``, raw or typed, and check each by itself.

    Args:
        request: The message.
        raws: The raw contents, where they came beside the message; None = they are in it.

    Returns:
        Tensors by name, in request order.

    Raises:
        AccordError: INPUT_UNKNOWN (given twice), TENSOR_ENCODING_CONFLICT, DTYPE_MISMATCH,
            SHAPE_MISMATCH or TENSOR_SIZE_MISMATCH; the field names the tensor's index.
    """
    check_number("inputs", len(request.inputs))
    if raws is None:
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
        if message.parameters and any(key.startswith("shared_memory") for key in message.parameters):
            raise AccordError(
                Reason.UNSUPPORTED,
                SHARED_MEMORY_REFUSED,
                field=f"inputs[{i}].parameters",
            )
        try:
            check_walk(message.name, message.datatype, message.shape, typed=raw is None)
            tensors[message.name] = _read_tensor(message, raw)
        except TensorFault as fault:
            part = {"DTYPE_MISMATCH": ".datatype", "SHAPE_MISMATCH": ".shape"}.get(fault.reason, "")
            raise AccordError.of_fault(fault, f"inputs[{i}]{part}") from None
    return tensors


def check_number(field: str, count: int) -> None:
    """Refuse a request with more tensors than any model has.

    Args:
        field: The request's field that names them.
        count: How many it names.

    Raises:
        AccordError: INPUT_UNKNOWN.
    """
    if count > MAX_TENSORS:
        raise AccordError(
            Reason.INPUT_UNKNOWN, f"{field} has {count} entries; at most {MAX_TENSORS} are read", field=field
        )


def check_answer(outputs: Iterable[Tensor]) -> None:
    """Refuse to answer what does not fit into a message, before it is copied.

    Args:
        outputs: All tensors of the answer.

    Raises:
        AccordError: REQUEST_TOO_LARGE.
    """
    size = sum(tensor.nbytes for tensor in outputs)
    if size > MAX_ANSWER_BYTES:
        raise AccordError(
            Reason.REQUEST_TOO_LARGE,
            f"the answer's tensors have {size} bytes; at most {MAX_ANSWER_BYTES} are sent; "
            "ask for fewer rows or outputs",
        )


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


def read_outputs(
    response: Any, raws: Sequence[bytes | memoryview] | None = None, wanted: Collection[str] = ()
) -> dict[str, Tensor]:
    """Read the tensors of a ``ModelInferResponse``.

    Args:
        response: The message.
        raws: The raw contents, where they came beside the message; None = they are in it.
        wanted: The outputs to read, others are not looked at; empty = all.

    Raises:
        TensorFault: If the answer breaks a rule of the protocol.
    """
    if raws is None:
        raws = response.raw_output_contents
    if raws and len(raws) != len(response.outputs):
        raise TensorFault("TENSOR_SIZE_MISMATCH", "", "raw_output_contents and outputs differ in number")
    tensors: dict[str, Tensor] = {}
    for i, message in enumerate(response.outputs):
        if wanted and message.name not in wanted:
            continue
        # of what is in a message each look at it is a copy
        raw = raws[i] if raws else None
        check_walk(message.name, message.datatype, message.shape, typed=raw is None)
        tensors[message.name] = _read_tensor(message, raw)
    return tensors


def _read_tensor(message: Any, raw: bytes | memoryview | None) -> Tensor:
    if raw is None:
        return _read_typed(message)
    if message.contents.ByteSize():  # an empty one says nothing; MLServer sends it beside raw outputs
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


def write_inputs(
    request: Any, inputs: Mapping[str, Tensor], raws: list[bytes | memoryview] | None = None
) -> None:
    """Append tensors to a ``ModelInferRequest`` in raw form.

    Args:
        request: The message.
        inputs: Tensors by name.
        raws: Where the raw contents go, uncopied, if they travel beside the message; None = into it.
    """
    for name, tensor in inputs.items():
        request.inputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        _write_raw(tensor, request.raw_input_contents, raws)


def raw_inputs(raws: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the serialised ``raw_input_contents`` of a ``ModelInferRequest`` in parts, which are not copied.

    Example:
        >>> messages.ModelInferRequest.FromString(b"".join(raw_inputs([b"ab", b""]))).raw_input_contents
        [b'ab', b'']
    """
    parts: list[bytes | memoryview] = []
    for raw in raws:
        parts += (_RAW_TAG + _varint(len(raw)), raw)
    return parts


#: The field's number and its wire type, 2: a length, then bytes. Source: Protocol Buffers encoding.
_RAW_TAG = bytes([messages.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER << 3 | 2])


def _varint(value: int) -> bytes:
    low = []
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*low, value])


def write_outputs(
    response: Any,
    outputs: Mapping[str, Tensor],
    *,
    typed: bool = False,
    raws: list[bytes | memoryview] | None = None,
) -> None:
    """Append tensors to a ``ModelInferResponse``.

    Args:
        response: The message.
        outputs: Tensors by name.
        typed: Whether the elements stand in typed ``contents``, as plain stubs like them, and not in bytes.
        raws: Where the raw contents go, uncopied, if they travel beside the message; None = into it.

    Raises:
        AccordError: PARAMETER_INVALID if a typed form is wanted of a tensor that has none, or too many
            elements for one; REQUEST_TOO_LARGE as :func:`check_answer`.
    """
    check_answer(outputs.values())
    for name, tensor in outputs.items():
        message = response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        if typed:
            _write_typed(message, tensor)
        else:
            _write_raw(tensor, response.raw_output_contents, raws)


def _write_raw(tensor: Tensor, inside: Any, beside: list[bytes | memoryview] | None) -> None:
    if beside is None:
        inside.append(bytes(tensor.raw))
    else:
        beside.append(tensor.raw)


def _write_typed(message: Any, tensor: Tensor) -> None:
    field = _TYPED_FIELD.get(tensor.datatype)
    if field is None:
        raise _untypable(message.name, f"is {tensor.datatype}, which has no typed form")
    if prod(tensor.shape) > MAX_WALK:
        raise _untypable(message.name, f"has more than {MAX_WALK} elements, which are written raw only")
    getattr(message.contents, field).extend(tensor.array().ravel().tolist())


def _untypable(name: str, problem: str) -> AccordError:
    return AccordError(
        Reason.PARAMETER_INVALID,
        f"output {name!r} {problem}; leave out {CONTENTS!r}",
        field=f"parameters[{CONTENTS!r}]",
    )
