"""Writes a model repository of ours in the way that each foreign server wants it.

Triton's Python backend, with ``onnx_backend/model.py``, wants a repository that differs from its ONNX one's:

- It takes nothing from the ONNX file, so the config is written in full: what a worker of ours answers to
  ModelConfig, but for ``backend`` and ``platform``.
- ``dims`` may not be empty, so a model that batches tensors of rank 1 is written as one that does not batch.
  Clients see the same shapes; only ``max_batch_size`` differs, and ``dynamic_batching`` goes with it.
- ``default_model_filename`` names the Python file there, so the ONNX file is copied as ``model.onnx``.

MLServer and KServe serve one version of a model, the one that a worker would.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from workers.model import repository
from workers.model.interface import completed_config
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from protos.model import ModelSpec
    from protos.tensor import TensorSpec
    from workers.model.repository import ModelFiles

__all__ = ["for_kserve", "for_mlserver", "for_triton"]

HERE = Path(__file__).parent
_THREADS = "intra_op_thread_count"


def for_triton(source: Path, target: Path, *, threads: int = 1) -> Path:
    """Copy a repository to one that Triton can serve.

    Args:
        source: A repository that our workers can serve.
        target: The copy's directory; made if absent.
        threads: Threads of each model's runs, where its config says nothing.

    Returns:
        The target.

    Raises:
        ModelError: If a model cannot be served by a worker either.
    """
    for files, spec in _models(source):
        folder = target / files.name
        shutil.copytree(files.directory, folder)
        for onnx in folder.glob(f"*/{files.path.name}"):
            onnx.rename(onnx.with_name("model.onnx"))
            shutil.copy(HERE / "onnx_backend" / "model.py", onnx.parent)
        config = _triton_config(files, spec, threads)
        (folder / repository.CONFIG_FILE).write_text(text_format.MessageToString(config), "utf-8")
    return target


def for_mlserver(source: Path, target: Path, *, threads: int = 1) -> Path:
    """Copy a repository to one that MLServer can serve with ``mlserver_onnx.py``; see :func:`for_triton`."""
    for files, spec in _models(source):
        folder = target / files.name
        shutil.copytree(files.path.parent, folder)
        shutil.copy(HERE / "mlserver_onnx.py", folder)
        settings = {
            "name": files.name,
            "platform": spec.platform,
            "implementation": "mlserver_onnx.OnnxModel",
            "inputs": _described(spec.inputs),
            "outputs": _described(spec.outputs),
            "parameters": {
                "uri": files.path.name,
                "version": files.version,
                "extra": {"threads": threads},
            },
        }
        (folder / "model-settings.json").write_text(json.dumps(settings), "utf-8")
    return target


def for_kserve(source: Path, target: Path, *, threads: int = 1) -> Path:
    """Copy a repository to one that ``kserve_onnx.py`` can serve; see :func:`for_triton`."""
    for files, spec in _models(source):
        folder = target / files.name
        shutil.copytree(files.path.parent, folder)
        facts = {
            "files": [files.path.name],
            "threads": threads,
            "inputs": _described(spec.inputs),
            "outputs": _described(spec.outputs),
        }
        (folder / "model.json").write_text(json.dumps(facts), "utf-8")
    return target


def _models(source: Path) -> Iterator[tuple[ModelFiles, ModelSpec]]:
    for name in repository.models(source):
        files = repository.find(source, name)
        yield files, load(files).spec


def _triton_config(files: ModelFiles, spec: ModelSpec, threads: int) -> Any:
    config = completed_config(files, spec)
    config.backend = "python"
    for field in ("platform", "default_model_filename"):
        config.ClearField(field)
    if spec.batches and any(len(tensor.shape) == 1 for tensor in (*spec.inputs, *spec.outputs)):
        for field in ("max_batch_size", "dynamic_batching"):
            config.ClearField(field)
        for entries, specs in ((config.input, spec.inputs), (config.output, spec.outputs)):
            for entry, tensor in zip(entries, specs, strict=True):
                entry.dims[:] = tensor.shape
    if _THREADS not in config.parameters:
        config.parameters[_THREADS].string_value = str(threads)
    return config


def _described(tensors: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in tensors]
