"""What ghz sends: protosets that stand alone, and requests that the services can read."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.proto import parse_length_prefixed

from accord.client import read_tensors
from accord.v1 import ensemble_pb2
from deploy.ghz.payload import write_payload
from protos.oip import messages, read_inputs

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.arange(5 * 64, dtype=np.float32).reshape(5, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    np.savez(folder / "rows.npz", pixels=PIXELS)
    write_payload(folder, folder / "rows.npz")
    return folder


@pytest.mark.parametrize(
    ("name", "service", "method"),
    [
        ("oip", "inference.GRPCInferenceService", "ModelInfer"),
        ("accord", "accord.v1.EnsembleService", "Infer"),
    ],
)
def test_a_protoset_stands_alone(folder: Path, name: str, service: str, method: str) -> None:
    """Each file of a protoset comes after all that it imports, so an empty pool can load it in order."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString((folder / f"{name}.protoset").read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    assert method in pool.FindServiceByName(service).methods_by_name


def messages_of(path: Path, kind: Any) -> list[Any]:
    stream = BytesIO(path.read_bytes())
    found = []
    while (message := parse_length_prefixed(kind, stream)) is not None:
        found.append(message)
    return found


def test_oip_requests_carry_one_row_each(folder: Path) -> None:
    """Request i asks the ensemble about row i, unchanged."""
    requests = messages_of(folder / "digits.oip.bin", messages.ModelInferRequest)
    assert {r.model_name for r in requests} == {"digits"}
    rows = [read_inputs(request)["pixels"].array() for request in requests]
    assert np.array_equal(np.concatenate(rows), PIXELS)


def test_typed_requests_carry_one_row_each(folder: Path) -> None:
    """The typed requests ask the same, in the same order."""
    requests = messages_of(folder / "digits.accord.bin", ensemble_pb2.InferRequest)
    assert {r.ensemble for r in requests} == {"digits"}
    rows = [read_tensors(request.inputs)["pixels"] for request in requests]
    assert np.array_equal(np.concatenate(rows), PIXELS)


def test_rows_without_pixels_are_refused(tmp_path: Path) -> None:
    """A file that is not what the models' maker saves is named as the problem."""
    np.savez(tmp_path / "rows.npz", other=PIXELS)
    with pytest.raises(ValueError, match=r"rows\.npz.*pixels"):
        write_payload(tmp_path, tmp_path / "rows.npz")
