"""Tensors as the Open Inference Protocol carries them, and the codec between bytes and arrays.

Rules (Open Inference Protocol v2, "Tensor Data"; Triton's binary tensor extension):

- Elements are row-major and little-endian without padding; BOOL is one byte per element.
- A BYTES element is its length as little-endian uint32, then that many bytes.
- FP16 and BF16 exist only in raw form; BF16 is handled through ``ml_dtypes``.

A :class:`Tensor` keeps the raw bytes and decodes on demand: bytes that nobody looks at are never
decoded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DTYPES", "MAX_RANK", "Tensor", "TensorFault", "TensorSpec", "concatenate", "datatype_of"]

Array = np.ndarray[Any, np.dtype[Any]]

#: Datatype name -> numpy dtype of its decoded form. BYTES decodes to objects of type ``bytes``.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}

#: The highest rank accepted; numpy itself ends at 64, ONNX models rarely pass 6.
MAX_RANK = 16
#: numpy counts an array's bytes in 63 bits, and counts the other dimensions also where one is 0.
_MAX_ELEMENTS = 2**60 - 1
_LENGTH = struct.Struct("<I")


class TensorFault(ValueError):  # noqa: N818 - a fault is the field's word; it becomes an error at the rim
    """A tensor that breaks a rule.

    Args:
        reason: Name of the :class:`protos.errors.Reason` it maps to.
        name: The tensor's name, or an empty string where it is not known yet.
        problem: What is wrong and how to mend it.
    """

    def __init__(self, reason: str, name: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
        self.name = name
        self.problem = problem


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the datatype name of a numpy dtype.

    Strings (``S``, ``U``, objects) are BYTES.

    Raises:
        TypeError: If the protocol has no such datatype.

    Example:
        >>> datatype_of(np.dtype("float32"))
        'FP32'
    """
    if dtype.kind in "OSU":
        return "BYTES"
    name = _NAMES.get(dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype)
    if name is None:
        raise TypeError(f"dtype {dtype} has no Open Inference Protocol datatype")
    return name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model says of one tensor: name, datatype, shape and, if known, class labels.

    Args:
        name: The tensor's name.
        datatype: One of :data:`DTYPES`.
        shape: Elements per dimension; -1 stands for any length. Where the model batches, the first
            dimension is the row dimension.
        labels: Names of the classes along the last axis, or empty.
        optional: Whether an input may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: tuple[str, ...] = ()
    optional: bool = False

    def accepts(self, shape: Sequence[int]) -> bool:
        """Tell whether a concrete shape fits this one.

        Example:
            >>> TensorSpec("x", "FP32", (-1, 64)).accepts((3, 64))
            True
        """
        if len(shape) != len(self.shape):
            return False
        return all(want in (-1, have) for want, have in zip(self.shape, shape, strict=True))


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: datatype, shape and its raw bytes.

    Args:
        datatype: One of :data:`DTYPES`.
        shape: Elements per dimension, each >= 0; empty for a scalar.
        raw: The elements as the module's rules say. Construct foreign tensors with
            :meth:`from_raw`, which checks them.

    Example:
        >>> t = Tensor.from_array(np.array([[1.5, 2.0]], np.float32))
        >>> t.datatype, t.shape, t.array().tolist()
        ('FP32', (1, 2), [[1.5, 2.0]])
    """

    datatype: str
    shape: tuple[int, ...]
    raw: bytes | memoryview
    _offsets: Array | None = field(default=None, compare=False, repr=False)
    _array: Array | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def from_raw(cls, name: str, datatype: str, shape: Sequence[int], raw: bytes | memoryview) -> Tensor:
        """Build a tensor from foreign bytes after checking that they fit datatype and shape exactly.

        Raises:
            TensorFault: DTYPE_MISMATCH, SHAPE_MISMATCH or TENSOR_SIZE_MISMATCH.
        """
        count = checked_count(name, datatype, shape)
        if datatype == "BYTES":
            return cls(datatype, tuple(shape), raw, _element_offsets(name, raw, count))
        want = count * DTYPES[datatype].itemsize
        if len(raw) != want:
            raise TensorFault(
                "TENSOR_SIZE_MISMATCH",
                name,
                f"has {len(raw)} bytes, but {datatype} of shape {list(shape)} needs {want}",
            )
        return cls(datatype, tuple(shape), raw)

    @classmethod
    def from_array(cls, array: Array) -> Tensor:
        """Build a tensor from an array; fixed-size elements are shared, not copied, when contiguous."""
        datatype = datatype_of(array.dtype)
        if datatype == "BYTES":
            raw, offsets = _encode_bytes(array)
            return cls(datatype, array.shape, raw, offsets)
        plain = np.ascontiguousarray(array, DTYPES[datatype])
        return cls(datatype, array.shape, plain.reshape(-1).view(np.uint8).data)

    @property
    def nbytes(self) -> int:
        """Length of the raw form in bytes."""
        return len(self.raw)

    def array(self) -> Array:
        """Decode to a read-only array of :attr:`shape`, once; aligned numbers are a view of the bytes."""
        if self._array is None:
            array = self._decoded().reshape(self.shape)
            array.flags.writeable = False
            object.__setattr__(self, "_array", array)
            return array
        return self._array

    def _decoded(self) -> Array:
        if self.datatype == "BYTES":
            bounds, raw = self.offsets(), bytes(self.raw)
            flat = np.empty(len(bounds) - 1, object)
            flat[:] = [raw[bounds[i] + 4 : bounds[i + 1]] for i in range(len(flat))]
            return flat
        elements: Array = np.frombuffer(self.raw, DTYPES[self.datatype])
        if self.datatype == "BOOL":  # foreign bytes above 1 would confuse numpy and models
            return np.asarray(elements.view(np.uint8) != 0)
        # out of the middle of a message they seldom are, and every model would copy them for itself
        return elements if elements.flags.aligned else elements.copy()

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows ``start`` to ``stop`` of the first axis, sharing the bytes.

        Example:
            >>> Tensor.from_array(np.arange(6).reshape(3, 2)).rows(1, 2).array().tolist()
            [[2, 3]]
        """
        if start == 0 and stop == self.shape[0]:
            return self
        shape = (stop - start, *self.shape[1:])
        per_row = prod(self.shape[1:])
        view = memoryview(self.raw)
        if self.datatype != "BYTES":
            size = per_row * DTYPES[self.datatype].itemsize
            return Tensor(self.datatype, shape, view[start * size : stop * size])
        bounds = self.offsets()[start * per_row : stop * per_row + 1]
        return Tensor("BYTES", shape, view[bounds[0] : bounds[-1]], bounds - bounds[0])

    def take(self, rows: Array) -> Tensor:
        """Return the rows where the boolean mask ``rows`` is true, copying them."""
        return Tensor.from_array(self.array()[rows])

    def offsets(self) -> Array:
        """Return where each BYTES element's length stands in the bytes, and their end."""
        if self._offsets is None:
            return _element_offsets("", self.raw, prod(self.shape))
        return self._offsets


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Join tensors of one datatype and one non-row shape along the first axis, without decoding them.

    Their bytes are copied once. What is known of where BYTES elements lie stays known.
    """
    first = tensors[0]
    shape = (sum(t.shape[0] for t in tensors), *first.shape[1:])
    raw = b"".join(t.raw for t in tensors)
    if first.datatype != "BYTES":
        return Tensor(first.datatype, shape, raw)
    starts = accumulate((t.nbytes for t in tensors), initial=0)
    offsets = [t.offsets()[:-1] + start for t, start in zip(tensors, starts, strict=False)]
    return Tensor("BYTES", shape, raw, np.concatenate([*offsets, [len(raw)]]))


def checked_count(name: str, datatype: str, shape: Sequence[int]) -> int:
    """Return the number of elements after checking datatype and shape.

    Raises:
        TensorFault: DTYPE_MISMATCH for an unknown datatype; SHAPE_MISMATCH for a negative dimension, a
            rank above :data:`MAX_RANK` or a product beyond 60 bits.
    """
    if datatype not in DTYPES:
        raise TensorFault(
            "DTYPE_MISMATCH", name, f"has unknown datatype {datatype[:32]!r}; use one of {', '.join(DTYPES)}"
        )
    if len(shape) > MAX_RANK:
        raise TensorFault("SHAPE_MISMATCH", name, f"has rank {len(shape)}; at most {MAX_RANK} is accepted")
    if any(d < 0 for d in shape):
        raise TensorFault("SHAPE_MISMATCH", name, f"has shape {list(shape)}; a dimension may not be negative")
    count = prod(shape)
    if count > _MAX_ELEMENTS or prod(d for d in shape if d) > _MAX_ELEMENTS:
        raise TensorFault("SHAPE_MISMATCH", name, f"has shape {list(shape)}; that is more than 2^60 elements")
    return count


def _element_offsets(name: str, raw: bytes | memoryview, count: int) -> Array:
    """Walk the length prefixes and return where each element starts, and the end."""
    if count * 4 > len(raw):
        raise TensorFault(
            "TENSOR_SIZE_MISMATCH",
            name,
            f"has {len(raw)} bytes, but {count} BYTES elements need at least {count * 4}",
        )
    offsets = np.empty(count + 1, np.int64)
    at, end = 0, len(raw)
    for i in range(count):
        offsets[i] = at
        if at + 4 > end:
            raise TensorFault("TENSOR_SIZE_MISMATCH", name, f"ends inside the length of BYTES element {i}")
        at += 4 + _LENGTH.unpack_from(raw, at)[0]
        if at > end:
            raise TensorFault("TENSOR_SIZE_MISMATCH", name, f"ends inside BYTES element {i}")
    if at != end:
        raise TensorFault(
            "TENSOR_SIZE_MISMATCH", name, f"has {end - at} bytes after its {count} BYTES elements"
        )
    offsets[count] = end
    return offsets


def _encode_bytes(array: Array) -> tuple[bytes, Array]:
    elements = [e if isinstance(e, bytes) else str(e).encode() for e in array.reshape(-1).tolist()]
    offsets = np.zeros(len(elements) + 1, np.int64)
    np.cumsum([len(e) + 4 for e in elements], out=offsets[1:])
    return b"".join(part for e in elements for part in (_LENGTH.pack(len(e)), e)), offsets
