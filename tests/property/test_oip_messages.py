"""Messages of the protocol: whatever arrives is read or refused with one of our reasons."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protos import oip
from protos.errors import AccordError, Code, Reason
from protos.oip import messages
from protos.tensor import DTYPES, Tensor, TensorFault, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn

TYPED = {
    "BOOL": ("bool_contents", [True, False]),
    "UINT8": ("uint_contents", [0, 255]),
    "UINT16": ("uint_contents", [0, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 2**64 - 1]),
    "INT8": ("int_contents", [-128, 127]),
    "INT16": ("int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 2**63 - 1]),
    "FP32": ("fp32_contents", [1.5, -0.0]),
    "FP64": ("fp64_contents", [0.1, 5e-324]),
    "BYTES": ("bytes_contents", [b"", b"\xff\x00a"]),
}
FIELDS = sorted({field for field, _ in TYPED.values()})


def typed(datatype: str, values: list[Any], *, field: str = "") -> Any:
    request = messages.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype=datatype, shape=[len(values)])
    getattr(tensor.contents, field or TYPED[datatype][0]).extend(values)
    return request


def refusal(request: Any) -> AccordError:
    with pytest.raises(AccordError) as caught:
        oip.read_inputs(request)
    return caught.value


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_are_read_at_their_limits(datatype: str) -> None:
    """The least and the greatest value of each datatype arrive unchanged."""
    field, values = TYPED[datatype]
    (tensor,) = oip.read_inputs(typed(datatype, values)).values()
    assert tensor.array().tolist() == values
    assert tensor.datatype == datatype
    wrong = next(other for other in FIELDS if other not in (field, "bool_contents", "bytes_contents"))
    assert refusal(typed(datatype, [1], field=wrong)).reason is Reason.TENSOR_ENCODING_CONFLICT


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("UINT8", 256), ("UINT16", 2**16), ("INT8", -129), ("INT8", 128), ("INT16", 2**15)],
)
def test_a_typed_element_out_of_range_is_refused(datatype: str, value: int) -> None:
    """Narrow integers travel in wide fields; what does not fit is not wrapped around."""
    assert refusal(typed(datatype, [value])).reason is Reason.DTYPE_MISMATCH


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_have_no_typed_form(datatype: str) -> None:
    """They must come raw, and the message says so."""
    error = refusal(typed(datatype, [1.0], field="fp32_contents"))
    assert error.reason is Reason.TENSOR_ENCODING_CONFLICT
    assert "raw" in error.message


def _raw(*tensors: tuple[str, np.ndarray]) -> Any:
    request = messages.ModelInferRequest()
    for name, array in tensors:
        oip.write_inputs(request, {name: Tensor.from_array(array)})
    return request


X = np.zeros((2, 2), np.float32)


def _both() -> Any:
    request = _raw(("x", X))
    request.inputs[0].contents.fp32_contents.extend([0] * 4)
    return request


def _cut(request: Any, change: Any) -> Any:
    request.raw_input_contents[0] = change(request.raw_input_contents[0])
    return request


def _shared_memory() -> Any:
    request = _raw(("x", X))
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    return request


def _too_few_raw() -> Any:
    request = _raw(("x", X), ("y", X))
    del request.raw_input_contents[1:]
    return request


BROKEN = {
    "twice": (lambda: _raw(("x", X), ("x", X)), Reason.INPUT_UNKNOWN, "inputs[1].name"),
    "raw and typed": (_both, Reason.TENSOR_ENCODING_CONFLICT, "inputs[0]"),
    "too few raw": (_too_few_raw, Reason.TENSOR_SIZE_MISMATCH, "raw_input_contents"),
    "truncated": (lambda: _cut(_raw(("x", X)), lambda b: b[:-1]), Reason.TENSOR_SIZE_MISMATCH, "inputs[0]"),
    "too long": (lambda: _cut(_raw(("x", X)), lambda b: b + b"\0"), Reason.TENSOR_SIZE_MISMATCH, "inputs[0]"),
    "too few typed": (
        lambda: _shape(typed("FP32", [1.0]), [2]),
        Reason.TENSOR_SIZE_MISMATCH,
        "inputs[0]",
    ),
    "negative": (lambda: _shape(typed("FP32", []), [-1]), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "absurd": (lambda: _shape(typed("FP32", []), [2**62, 2**62]), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "deep": (lambda: _shape(typed("FP32", [1.0]), [1] * 17), Reason.SHAPE_MISMATCH, "inputs[0].shape"),
    "datatype": (
        lambda: typed("FP128", [1.0], field="fp64_contents"),
        Reason.DTYPE_MISMATCH,
        "inputs[0].datatype",
    ),
    "shared memory": (_shared_memory, Reason.UNSUPPORTED, "inputs[0].parameters"),
}


def _shape(request: Any, shape: list[int]) -> Any:
    request.inputs[0].shape[:] = shape
    return request


@pytest.mark.parametrize(("build", "reason", "field"), BROKEN.values(), ids=BROKEN)
def test_each_broken_rule_has_its_reason_and_field(build: Any, reason: Reason, field: str) -> None:
    """A request that breaks one rule is refused for that rule, with the place of the fault."""
    error = refusal(build())
    assert (error.reason, error.field) == (reason, field)


def attempt(call: Callable[..., Any], *args: Any) -> tuple[Any, AccordError | TensorFault | None]:
    """Return a call's result or its error; any other exception fails the test."""
    try:
        return call(*args), None
    except (AccordError, TensorFault) as error:
        return None, error


@st.composite
def requests(draw: DrawFn) -> Any:
    """Requests that parse, with tensors that need not make sense."""
    request = messages.ModelInferRequest()
    for _ in range(draw(st.integers(0, 3))):
        tensor = request.inputs.add(
            name=draw(st.sampled_from(["x", "y", ""])),
            datatype=draw(st.sampled_from([*DTYPES, "", "FP8", "fp32"])),
            shape=draw(st.lists(st.integers(-1, 3) | st.sampled_from([2**60 - 1, 2**62]), max_size=3)),
        )
        for field in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
            kind = {"bool_contents": st.booleans(), "bytes_contents": st.binary(max_size=4)}.get(
                field, st.integers(0, 300)
            )
            getattr(tensor.contents, field).extend(draw(st.lists(kind, max_size=4)))
    request.raw_input_contents.extend(draw(st.lists(st.binary(max_size=16), max_size=3)))
    return request


@given(requests())
def test_any_message_is_read_or_refused_as_the_callers_fault(request: Any) -> None:
    """Reading yields tensors that decode, or INVALID_ARGUMENT or UNSUPPORTED; never another exception."""
    tensors, error = attempt(oip.read_inputs, request)
    if error is not None:
        assert isinstance(error, AccordError)
        assert error.reason.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
        assert error.field
        return
    assert list(tensors) == [tensor.name for tensor in request.inputs]
    for tensor in tensors.values():
        assert tensor.array().shape == tensor.shape


@given(st.binary(max_size=96))
def test_any_bytes_that_parse_are_read_or_refused(data: bytes) -> None:
    """The same for messages that nobody built on purpose."""
    try:
        request = messages.ModelInferRequest.FromString(data)
    except DecodeError:
        return
    test_any_message_is_read_or_refused_as_the_callers_fault.hypothesis.inner_test(request)


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(sorted(DTYPES)), max_size=3), st.integers(0, 3)
)
def test_what_is_written_is_read_back(datatypes: dict[str, str], rows: int) -> None:
    """Requests and responses carry every datatype through the wire, in order."""
    tensors = {
        name: Tensor.from_array(
            np.full((rows, 2), b"\xffx", object) if kind == "BYTES" else np.ones((rows, 2), DTYPES[kind])
        )
        for name, kind in datatypes.items()
    }
    request, response = messages.ModelInferRequest(), messages.ModelInferResponse()
    oip.write_inputs(request, tensors)
    oip.write_outputs(response, tensors)
    received = oip.read_inputs(messages.ModelInferRequest.FromString(request.SerializeToString()))
    answered = oip.read_outputs(messages.ModelInferResponse.FromString(response.SerializeToString()))
    assert received == answered == tensors
    assert list(received) == list(tensors)


EXTREMES = {kind: st.sampled_from(values) for kind, (_, values) in TYPED.items()}


@given(st.data(), st.sampled_from(sorted(TYPED)), st.lists(st.integers(0, 3), max_size=3).map(tuple))
def test_a_typed_answer_carries_the_same_elements(
    data: st.DataObject, kind: str, shape: tuple[int, ...]
) -> None:
    """Whoever asks for typed contents finds them in the field of the datatype, and no raw bytes."""
    size = math.prod(shape)
    flat = np.empty(size, DTYPES[kind])
    flat[:] = data.draw(st.lists(EXTREMES[kind], min_size=size, max_size=size))
    outputs = {"y": Tensor.from_array(flat.reshape(shape))}
    response = messages.ModelInferResponse()
    oip.write_outputs(response, outputs, typed=True)
    received = messages.ModelInferResponse.FromString(response.SerializeToString())
    assert not received.raw_output_contents
    assert len(getattr(received.outputs[0].contents, TYPED[kind][0])) == size
    assert oip.read_outputs(received) == outputs


@pytest.mark.parametrize("kind", sorted(DTYPES.keys() - TYPED.keys()))
def test_what_has_no_typed_form_is_not_written_as_if_it_had(kind: str) -> None:
    """A 16-bit float has no field; the caller learns which wish to drop."""
    outputs = {"y": Tensor.from_array(np.ones(2, DTYPES[kind]))}
    with pytest.raises(AccordError) as caught:
        oip.write_outputs(messages.ModelInferResponse(), outputs, typed=True)
    assert caught.value.reason is Reason.PARAMETER_INVALID
    assert caught.value.field == "parameters['accord_contents']"
    assert kind in caught.value.message


def test_a_typed_answer_is_bounded() -> None:
    """Typed elements are written one by one, which would hold up everyone else."""
    outputs = {"y": Tensor.from_array(np.zeros(oip.MAX_WALK + 1, np.int8))}
    with pytest.raises(AccordError) as caught:
        oip.write_outputs(messages.ModelInferResponse(), outputs, typed=True)
    assert caught.value.reason is Reason.PARAMETER_INVALID
    oip.write_outputs(messages.ModelInferResponse(), outputs)


@given(requests())
def test_an_answer_is_read_or_faulty(request: Any) -> None:
    """A member's answer yields tensors or a fault, however broken it is."""
    response = messages.ModelInferResponse()
    response.raw_output_contents.extend(request.raw_input_contents)
    for tensor in request.inputs:
        response.outputs.add().ParseFromString(tensor.SerializeToString())
    tensors, fault = attempt(oip.read_outputs, response)
    if fault is not None:
        assert isinstance(fault, TensorFault)
        assert fault.reason in Reason.__members__
        return
    for tensor in tensors.values():
        assert tensor.array().shape == tensor.shape


PARAMETERS = st.dictionaries(
    st.text(max_size=4),
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=4),
    max_size=4,
)


@given(PARAMETERS)
def test_parameters_keep_their_type(values: dict[str, oip.Parameter]) -> None:
    """A truth value does not come back as a number, nor a whole number as a fraction."""
    request = messages.ModelInferRequest()
    oip.write_parameters(request.parameters, values)
    read = oip.read_parameters(request.parameters)
    assert read == values
    assert {key: type(value) for key, value in read.items()} == {k: type(v) for k, v in values.items()}


@given(st.booleans() | st.integers() | st.floats() | st.text(max_size=3))
def test_the_timeout_is_whole_microseconds_or_refused(value: oip.Parameter) -> None:
    """Zero means none; anything but a non-negative integer is the caller's mistake."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        with pytest.raises(AccordError) as caught:
            oip.timeout_s({"timeout": value})
        assert caught.value.reason is Reason.PARAMETER_INVALID
    else:
        assert oip.timeout_s({"timeout": value}) == (value / 1e6 or None)


SPECS = (TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT64", (-1,), optional=True))


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(
            st.sampled_from(["FP32", "INT64"]), st.lists(st.integers(0, 6), min_size=1, max_size=3).map(tuple)
        ),
        max_size=3,
    )
)
def test_checked_inputs_fit_the_model(given_inputs: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    """The check passes exactly those requests that the model can take, and counts their rows."""
    inputs = {
        name: Tensor.from_array(np.zeros(shape, DTYPES[kind])) for name, (kind, shape) in given_inputs.items()
    }
    known = {spec.name: spec for spec in SPECS}
    rows = {tensor.shape[0] for tensor in inputs.values()}
    fits = (
        "a" in inputs
        and inputs.keys() <= known.keys()
        and all(known[n].datatype == t.datatype and known[n].accepts(t.shape) for n, t in inputs.items())
        and len(rows) == 1
        and max(rows) <= 4
    )
    check = partial(oip.check_inputs, model="m", batches=True, max_rows=4)
    counted, error = attempt(check, inputs, SPECS)
    assert (error is None) is fits
    if isinstance(error, AccordError):
        assert error.reason.code is Code.INVALID_ARGUMENT
    else:
        assert {counted} == rows
