"""Reads a Triton repository: every model's ``config.pbtxt``, and what a worker of ours would make of it.

Rules:

- A directory is a model if it has a ``config.pbtxt`` or a version; hidden ones are passed over.
- What a model takes and returns is what its config says. Where that leaves anything to the ONNX file, the
  model is loaded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from accord.importing.values import Found
from protos.model import ModelSpec
from protos.oip import config_datatype, model_config
from protos.tensor import TensorSpec
from workers.model import interface, repository
from workers.model.config import BACKEND, PLATFORM, read_message
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["declared", "read"]


def read(directory: Path) -> dict[str, Found]:
    """Read all models of a repository.

    Args:
        directory: The repository.

    Returns:
        The models by name, sorted.

    Raises:
        ModelError: If the directory cannot be read, or holds no model.
    """
    try:
        names = sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and _is_model(entry))
    except OSError as error:
        raise ModelError(directory, f"cannot be read as a directory ({error.strerror})") from None
    if not names:
        raise ModelError(directory, "holds no model; name the directory whose folders hold a config.pbtxt")
    return {name: _read(directory, name) for name in names}


def declared(config: Any, version: str = "1") -> ModelSpec | None:
    """Return what a config alone says of a model, or None if it leaves its tensors to others.

    Args:
        config: A ``ModelConfig`` message.
        version: The version that answers.
    """
    tensors = (*config.input, *config.output)
    if not (config.input and config.output and all(tensor.data_type for tensor in tensors)):
        return None
    rows = (-1,) if config.max_batch_size > 0 else ()
    return ModelSpec(
        name=config.name,
        version=version,
        platform=config.platform,
        inputs=tuple(_tensor(entry, rows, optional=entry.optional) for entry in config.input),
        outputs=tuple(_tensor(entry, rows) for entry in config.output),
        max_rows=config.max_batch_size,
    )


def _tensor(entry: Any, rows: tuple[int, ...], *, optional: bool = False) -> TensorSpec:
    return TensorSpec(entry.name, config_datatype(entry), (*rows, *entry.dims), optional=optional)


def _is_model(folder: Path) -> bool:
    if folder.name.startswith("."):
        return False
    return (folder / repository.CONFIG_FILE).is_file() or any(
        entry.name.isdigit() for entry in folder.iterdir()
    )


def _read(directory: Path, name: str) -> Found:
    path = directory / name / repository.CONFIG_FILE
    config = model_config.ModelConfig(name=name)
    try:
        if path.is_file():
            config = read_message(path)[0]
    except ModelError as error:
        return Found(name=name, config=config, unfit=error.cause)
    if config.name not in ("", name):
        other = model_config.ModelConfig(name=name)
        return Found(name=name, config=other, unfit=f"names the model {config.name!r}, unlike its directory")
    config.name = name
    versions = _served(directory / name, config.version_policy)
    found = Found(name=name, config=config, versions=versions, spec=declared(config, versions[-1]))
    return found if found.is_ensemble else _hosted(directory, found)


def _served(folder: Path, policy: Any) -> tuple[str, ...]:
    """Return the versions that Triton serves; it needs none for what has no files."""
    try:
        return tuple(repository.served(folder, policy))
    except ModelError:
        return ("1",)


def _hosted(directory: Path, found: Found) -> Found:
    """Find out what a worker would make of a model."""
    kind = found.config.backend or found.config.platform
    if kind not in ("", BACKEND, PLATFORM):
        return replace(found, unfit=f"a worker runs ONNX models only, and this one's backend is {kind!r}")
    try:
        files = repository.find(directory, found.name)
        spec = interface.declared(files)
        if spec is None:
            from workers.model import session  # noqa: PLC0415 - it loads the model runtime, which few need

            spec = session.load(files).spec
    except ModelError as error:
        return replace(found, unfit=error.cause)
    return replace(found, spec=spec)
