"""The tensor codec: what is written is read back, and foreign bytes are taken or refused, nothing else."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protos.errors import Reason
from protos.tensor import DTYPES, MAX_RANK, Tensor, TensorFault, TensorSpec, concatenate, datatype_of

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

DATATYPES = st.sampled_from(sorted(DTYPES))
FIXED = st.sampled_from(sorted(DTYPES.keys() - {"BYTES"}))
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
ELEMENTS = st.binary(max_size=6)


@st.composite
def arrays(
    draw: DrawFn, *, shapes: st.SearchStrategy[tuple[int, ...]] = SHAPES, datatypes: Any = DATATYPES
) -> np.ndarray:
    """Any array that a tensor can hold, every bit pattern of its numbers included."""
    datatype, shape = draw(datatypes), draw(shapes)
    count = prod(shape)
    if datatype == "BYTES":
        flat = np.empty(count, object)
        flat[:] = draw(st.lists(ELEMENTS, min_size=count, max_size=count))
        return flat.reshape(shape)
    if datatype == "BOOL":
        return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool).reshape(shape)
    size = count * DTYPES[datatype].itemsize
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), DTYPES[datatype]).reshape(shape)


ROWS = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)


def same(a: Tensor, b: Tensor) -> bool:
    """Bytes decide: NaNs count as equal when their bits are."""
    return (a.datatype, a.shape, bytes(a.raw)) == (b.datatype, b.shape, bytes(b.raw))


@given(arrays())
def test_what_is_encoded_decodes_to_itself(array: np.ndarray) -> None:
    """Every datatype, shape and bit pattern survives the way to bytes and back."""
    tensor = Tensor.from_array(array)
    foreign = Tensor.from_raw("t", tensor.datatype, tensor.shape, bytes(tensor.raw))
    assert same(foreign, tensor)
    assert foreign.nbytes == len(bytes(tensor.raw))
    decoded = foreign.array()
    assert (decoded.shape, decoded.dtype) == (array.shape, DTYPES[tensor.datatype])
    assert same(Tensor.from_array(decoded), tensor)
    if array.dtype == object:
        assert decoded.tolist() == array.tolist()
    else:
        assert decoded.tobytes() == array.tobytes()


@given(arrays(), st.integers(0, 7))
def test_an_array_is_decoded_once_aligned_and_read_only(array: np.ndarray, offset: int) -> None:
    """Wherever in a message the bytes lie, all who read a tensor share one array that none can change."""
    raw = bytes(Tensor.from_array(array).raw)
    message = memoryview(bytes(offset) + raw)
    tensor = Tensor.from_raw("t", datatype_of(array.dtype), array.shape, message[offset:])
    decoded = tensor.array()
    assert decoded is tensor.array()
    assert decoded.flags.aligned
    assert not decoded.flags.writeable
    assert same(Tensor.from_array(decoded), Tensor.from_array(array))


@given(arrays(datatypes=FIXED))
def test_memory_order_does_not_change_the_bytes(array: np.ndarray) -> None:
    """Elements are row-major and little-endian, however the array lies in memory."""
    expected = Tensor.from_array(array)
    assert same(Tensor.from_array(array.copy(order="F")), expected)
    if array.dtype.kind in "iuf":
        assert same(Tensor.from_array(array.astype(array.dtype.newbyteorder(">"))), expected)


@given(st.lists(st.text("aé☃\0", max_size=4), min_size=1, max_size=4))
def test_text_is_bytes_in_utf8(words: list[str]) -> None:
    """Strings of either numpy kind become their UTF-8 bytes."""
    words = [word.rstrip("\0") for word in words]  # numpy's own strings cannot end in NUL
    expected = [word.encode() for word in words]
    for array in (np.array(words), np.array(words, object)):
        assert Tensor.from_array(array).array().tolist() == expected


@given(arrays(shapes=ROWS), st.data())
def test_rows_are_those_of_the_array(array: np.ndarray, data: st.DataObject) -> None:
    """A slice of the tensor is the slice of the array, again after slicing twice."""
    tensor = Tensor.from_array(array)
    stop = data.draw(st.integers(0, len(array)))
    start = data.draw(st.integers(0, stop))
    part = tensor.rows(start, stop)
    assert same(part, Tensor.from_array(array[start:stop]))
    assert part.array().tolist() == array[start:stop].tolist() or array.dtype.kind not in "iubO"
    inner = data.draw(st.integers(0, stop - start))
    assert same(part.rows(0, inner), tensor.rows(start, start + inner))
    assert same(Tensor.from_raw("t", part.datatype, part.shape, bytes(part.raw)), part)


@given(arrays(shapes=ROWS), st.data())
def test_taking_rows_by_mask_is_indexing(array: np.ndarray, data: st.DataObject) -> None:
    """The rows where the mask is true, in order."""
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(array), max_size=len(array))), bool)
    assert same(Tensor.from_array(array).take(mask), Tensor.from_array(array[mask]))


@given(arrays(shapes=ROWS), st.lists(st.integers(0, 4), max_size=4))
def test_concatenating_the_parts_gives_the_whole(array: np.ndarray, cuts: list[int]) -> None:
    """Wherever rows are cut, joining the parts in order undoes it, for decoding and slicing too."""
    tensor = Tensor.from_array(array)
    bounds = [0, *sorted(min(cut, len(array)) for cut in cuts), len(array)]
    parts = [tensor.rows(a, b) for a, b in pairwise(bounds)]
    whole = concatenate(parts)
    assert same(whole, tensor)
    assert same(Tensor.from_array(whole.array()), tensor)
    at = bounds[len(bounds) // 2]
    assert same(whole.rows(at, len(array)), tensor.rows(at, len(array)))


def taken(datatype: str, shape: list[int], raw: bytes) -> tuple[Tensor, None] | tuple[None, TensorFault]:
    """Return the tensor or the fault; any other exception fails the test."""
    try:
        return Tensor.from_raw("t", datatype, shape, raw), None
    except TensorFault as fault:
        return None, fault


WILD_SHAPES = st.lists(
    st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**60 - 1, 2**62, 2**63 - 1, -(2**63)])),
    max_size=MAX_RANK + 2,
)


@given(st.one_of(DATATYPES, st.text(max_size=8)), WILD_SHAPES, st.binary(max_size=64))
@example("BYTES", [1], b"\xff\xff\xff\xff")
@example("BYTES", [0], b"")
@example("BYTES", [2], b"\x00\x00\x00\x00\x01")
@example("FP32", [0, 2**63 - 1, 2**63 - 1], b"")
@example("FP64", [0, 2**60], b"")
@example("FP64", [0, 2**60 - 1], b"")
@example("BYTES", [0, 2**60 - 1], b"")
@example("BYTES", [2**62], b"")
@example("BOOL", [1], b"\x02")
def test_foreign_bytes_are_taken_or_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    """The codec raises its own fault, with a reason of the table, or it yields a tensor that decodes."""
    tensor, fault = taken(datatype, shape, raw)
    if fault is not None:
        assert fault.reason in Reason.__members__
        assert fault.name == "t"
        return
    array = tensor.array()
    assert array.shape == tuple(shape)
    again = Tensor.from_array(array)
    assert again.array().tolist() == array.tolist() or array.dtype.kind in "fV"
    if datatype != "BOOL":
        assert same(again, tensor)


@given(st.lists(ELEMENTS, max_size=5), st.data())
def test_a_damaged_length_never_reads_past_the_end(elements: list[bytes], data: st.DataObject) -> None:
    """Any change of one byte of a BYTES tensor gives a fault or a tensor of exactly those bytes."""
    flat = np.empty(len(elements), object)
    flat[:] = elements
    raw = bytearray(Tensor.from_array(flat).raw)
    if raw:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    tensor, fault = taken("BYTES", [len(elements)], bytes(raw))
    if fault is not None:
        assert fault.reason == "TENSOR_SIZE_MISMATCH"
        return
    assert b"".join(len(e).to_bytes(4, "little") + e for e in tensor.array().tolist()) == bytes(raw)


@pytest.mark.parametrize("raw", [b"\x02", b"\xff"])
def test_any_byte_but_zero_is_true(raw: bytes) -> None:
    """A BOOL decodes to a proper truth value, whatever byte a client took for true."""
    array = Tensor.from_raw("t", "BOOL", [1], raw).array()
    assert array.view(np.uint8).tolist() == [1]


def test_a_decoded_array_is_read_only() -> None:
    """Nobody can change the bytes of a tensor that others read too."""
    array = Tensor.from_array(np.zeros(2, np.float32)).array()
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@given(st.lists(st.integers(-1, 3), max_size=4), st.lists(st.integers(0, 3), max_size=4))
def test_a_spec_accepts_exactly_what_fits(pattern: list[int], shape: list[int]) -> None:
    """Ranks must agree, and each length must be free or equal."""
    fits = len(pattern) == len(shape) and all(p in (-1, s) for p, s in zip(pattern, shape, strict=True))
    assert TensorSpec("x", "FP32", tuple(pattern)).accepts(shape) is fits


def test_a_dtype_without_a_name_is_refused() -> None:
    """Complex numbers and dates have no place in the protocol."""
    for dtype in ("complex64", "datetime64[s]"):
        with pytest.raises(TypeError, match="no Open Inference Protocol datatype"):
            datatype_of(np.dtype(dtype))
    assert {datatype_of(dtype) for dtype in DTYPES.values()} == set(DTYPES)
