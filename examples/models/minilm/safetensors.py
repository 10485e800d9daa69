"""Reading a ``safetensors`` file: a length, that many bytes of JSON, and the tensors' bytes as they are.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from examples import ExampleError

__all__ = ["tensors"]

Array = np.ndarray[Any, np.dtype[Any]]

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


def tensors(content: bytes) -> dict[str, Array]:
    """Return the tensors of a file by name; they are views of its bytes.

    Raises:
        ExampleError: If it is damaged, or has a datatype that is not read here.
    """
    try:
        begin = 8 + int.from_bytes(content[:8], "little")
        header: dict[str, Any] = json.loads(content[8:begin])
        header.pop("__metadata__", None)
        return {
            name: np.frombuffer(
                content[begin + entry["data_offsets"][0] : begin + entry["data_offsets"][1]],
                _DTYPES[entry["dtype"]],
            ).reshape(entry["shape"])
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise ExampleError(f"the weights are no safetensors file that is read here ({error})") from None
