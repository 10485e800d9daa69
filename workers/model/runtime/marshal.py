"""Between arrays as :mod:`protos.tensor` decodes them and what the ONNX runtime takes and returns.

ONNX strings are Unicode, the protocol's BYTES are any bytes: what is not UTF-8 is refused. numpy has no
bfloat16 that the runtime understands, so a model that has any passes its tensors in OrtValues.
"""

from __future__ import annotations

import ctypes
from typing import Any

import ml_dtypes
import numpy as np

from protos.errors import AccordError, Reason

__all__ = ["box", "decoded", "encoded", "unbox"]

Array = np.ndarray[Any, np.dtype[Any]]

_ONNX_BFLOAT16 = 16


def decoded(name: str, array: Array) -> Array:
    """Turn objects of ``bytes`` into the ``str`` that the runtime takes.

    Raises:
        AccordError: INPUT_REJECTED for an element that is not UTF-8.
    """
    flat = np.empty(array.size, object)
    for i, element in enumerate(array.reshape(-1).tolist()):
        try:
            flat[i] = element.decode()
        except UnicodeDecodeError:
            raise AccordError(
                Reason.INPUT_REJECTED,
                f"element {i} of input {name!r} is not UTF-8, and the model takes text only",
                field="inputs",
            ) from None
    return flat.reshape(array.shape)


def encoded(array: Array) -> Array:
    """Turn the runtime's ``str`` into objects of ``bytes``."""
    flat = np.empty(array.size, object)
    flat[:] = [element.encode() for element in array.reshape(-1).tolist()]
    return flat.reshape(array.shape)


def box(array: Array) -> Any:
    """Hand an array to the runtime as an OrtValue that shares its memory."""
    from onnxruntime import OrtValue  # noqa: PLC0415 - loaded already; this module itself needs none

    if array.dtype == ml_dtypes.bfloat16:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ONNX_BFLOAT16)
    return OrtValue.ortvalue_from_numpy(array)


def unbox(value: Any) -> Array:
    """Take an OrtValue of the runtime as an array."""
    if value.element_type() != _ONNX_BFLOAT16:
        plain: Array = value.numpy()
        return plain
    # OrtValue.numpy() knows no bfloat16, so such an output is always bound to host memory
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, ml_dtypes.bfloat16).reshape(value.shape())
