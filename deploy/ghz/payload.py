"""What ghz sends: descriptors instead of reflection, and requests made from the held-out digits.

ghz reads a *protoset* (a serialised ``FileDescriptorSet`` with all dependencies) and a *binary file*:
messages, each after its length as a varint, which it sends in turn. Sources: ghz "Options", ``--protoset``
and ``--binary-file``; protobuf "Streaming Multiple Messages".
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.proto import serialize_length_prefixed

from accord.v1 import ensemble_pb2
from protos.oip import messages, write_inputs
from protos.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.message import Message

__all__ = ["ENSEMBLE", "INPUT", "delimited", "protoset", "write_payload"]

#: What the shipped configurations ask.
ENSEMBLE = "digits"
INPUT = "pixels"


def write_payload(folder: Path, data: Path) -> None:
    """Write the protosets and request files that the configurations beside this module name.

    Args:
        folder: Where to; made if absent.
        data: The held-out rows, ``pixels`` float32 [n, 64], as ``python -m examples.models`` saves them.

    Raises:
        OSError: If the rows cannot be read.
        ValueError: If they are not such rows.
    """
    with np.load(data, allow_pickle=False) as arrays:
        if INPUT not in arrays:
            raise ValueError(f"{data} has no array {INPUT!r}")
        pixels = np.ascontiguousarray(arrays[INPUT], np.float32)
    rows = [Tensor.from_array(pixels[i : i + 1]) for i in range(len(pixels))]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "oip.protoset").write_bytes(protoset(messages.DESCRIPTOR))
    (folder / "accord.protoset").write_bytes(protoset(ensemble_pb2.DESCRIPTOR))
    (folder / "digits.oip.bin").write_bytes(delimited(_oip(row) for row in rows))
    (folder / "digits.accord.bin").write_bytes(delimited(_typed(row) for row in rows))


def protoset(file: FileDescriptor) -> bytes:
    """Return a file's descriptor and those of all it imports, each after what it needs itself."""
    found: dict[str, FileDescriptorProto] = {}

    def add(descriptor: FileDescriptor) -> None:
        if descriptor.name in found:
            return
        for dependency in descriptor.dependencies:
            add(dependency)
        proto = FileDescriptorProto()
        descriptor.CopyToProto(proto)
        found[descriptor.name] = proto

    add(file)
    return FileDescriptorSet(file=found.values()).SerializeToString()


def delimited(requests: Iterable[Message]) -> bytes:
    """Return the messages one after the other, each after its length as a varint."""
    stream = BytesIO()
    for request in requests:
        serialize_length_prefixed(request, stream)
    return stream.getvalue()


def _oip(row: Tensor) -> Any:
    request = messages.ModelInferRequest(model_name=ENSEMBLE)
    write_inputs(request, {INPUT: row})
    return request


def _typed(row: Tensor) -> ensemble_pb2.InferRequest:
    request = ensemble_pb2.InferRequest(ensemble=ENSEMBLE)
    request.inputs.add(name=INPUT, datatype=row.datatype, shape=row.shape, raw=bytes(row.raw))
    return request
