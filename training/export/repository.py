"""Writing a version of a model into a repository in Triton's layout, whole or not at all.

    <repository>/<name>/config.pbtxt     one for all versions
    <repository>/<name>/<labels>         likewise
    <repository>/<name>/<version>/       model.onnx, tokenizer.json, card.json, SHA256SUMS

Rules:

- Versions count up; one that is there is never changed. A version appears by the renaming of one directory,
  so nobody sees half of it: neither a worker that looks for changes, nor who comes after a crash or on a
  full disk.
- All versions share one interface, because Triton has one config for all. One that differs is refused:
  other classes, or a model that has become batch-dependent, need another name.
- Whatever is to be proved of the files is proved of those that were written, before they get their place.

Source: Triton "Model Repository".
"""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from protos.model import INDEPENDENT
from protos.oip import model_config
from training.data import Kind
from training.errors import TrainingError
from training.export.interface import outputs
from training.files import filled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from training.export.interface import Head, Output

__all__ = ["CARD", "CONFIG", "MODEL", "TOKENIZER", "Package", "label_file", "write"]

CARD, CONFIG, MODEL, TOKENIZER, DIGESTS = (
    "card.json",
    "config.pbtxt",
    "model.onnx",
    "tokenizer.json",
    "SHA256SUMS",
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
#: As many others may take the next number at the same time.
_TRIES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What is written.

    Args:
        name: The model's name.
        onnx: Its file.
        heads: Its tasks.
        inputs: What it takes: TYPE_... and dims by name, without the row dimension.
        max_rows: Most rows of a call.
        independent: Whether a row's answer was found not to depend on its neighbours.
        tokenizer: The content of ``tokenizer.json``, where a worker is to make tokens of texts.
        max_tokens: To which length it is to cut them.
        card: Facts for ``card.json``.
    """

    name: str
    onnx: bytes
    heads: tuple[Head, ...]
    inputs: Mapping[str, tuple[str, tuple[int, ...]]]
    max_rows: int
    independent: bool
    tokenizer: bytes | None = None
    max_tokens: int | None = None
    card: Mapping[str, Any] = field(default_factory=dict)


def label_file(output: Output, heads: tuple[Head, ...]) -> str:
    """Return the name of the file with an output's classes; empty if it has none."""
    if not output.head.classes or output.head.kind not in (Kind.CLASSIFY, Kind.MULTILABEL):
        return ""
    return "labels.txt" if len(heads) == 1 else f"{output.head.task}.labels.txt"


def write(
    repository: Path, package: Package, check: Callable[[Path, Path], None] = lambda model, version: None
) -> Path:
    """Write the next version of a model and return its folder.

    Args:
        repository: Made if it is not there.
        package: What to write.
        check: Looks at the files before they get their place, given the folders of config and version;
            raises to refuse.

    Raises:
        TrainingError: If the check refuses, the model is there with another interface, or the disk does not
            take it.
    """
    if not _NAME.fullmatch(package.name):
        raise TrainingError(
            f"model {package.name!r}", "is no name of a model", "use letters, digits, '.', '_' and '-'"
        )
    model = repository / package.name
    try:
        made = [parent for parent in (repository, *repository.parents) if not parent.exists()]
        repository.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f".{package.name}.", dir=repository) as scratch:
                return _written(model, package, Path(scratch), check)
        except BaseException:
            for parent in made:
                _removed(parent)
            raise
    except OSError as error:
        remedy = "make room and export again" if error.errno == errno.ENOSPC else "see to it and export again"
        raise TrainingError(
            str(model), f"cannot be written ({error.strerror}), and is as it was before", remedy
        ) from error


def _written(model: Path, package: Package, scratch: Path, check: Callable[[Path, Path], None]) -> Path:
    new, version = scratch / "model", scratch / "model" / "1"
    version.mkdir(parents=True)
    _fill(new, _shared(package))
    _fill(version, _own(package))
    check(new, version)
    if not model.exists():
        try:
            new.rename(model)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            _sync(model.parent)
            return model / "1"
    _check_shared(model, package)
    for _ in range(_TRIES):
        place = model / str(_next(model))
        try:
            version.rename(place)
        except OSError as error:
            # another export was faster; an empty directory would give way silently, and is nobody's version
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            _sync(model)
            return place
    raise TrainingError(
        str(model), "other exports take every next version", "export again when they are done"
    )


def _shared(package: Package) -> dict[str, bytes]:
    """Return the files that all versions share, by name."""
    files = {CONFIG: text_format.MessageToString(_config(package)).encode()}
    for output in outputs(package.heads):
        if name := label_file(output, package.heads):
            files[name] = "".join(f"{label}\n" for label in output.head.classes).encode()
    return files


def _own(package: Package) -> dict[str, bytes]:
    files = {MODEL: package.onnx}
    if package.tokenizer is not None:
        files[TOKENIZER] = package.tokenizer
    card = {
        "name": package.name,
        **package.card,
        "row_independent": package.independent,
        "onnx_bytes": len(package.onnx),
        "onnx_sha256": sha256(package.onnx).hexdigest(),
    }
    files[CARD] = (json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    digests = "".join(f"{sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return files | {DIGESTS: digests.encode()}


def _config(package: Package) -> Any:
    config = model_config.ModelConfig(
        name=package.name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=package.max_rows,
    )
    for name, (datatype, dims) in package.inputs.items():
        config.input.add(name=name, data_type=model_config.DataType.Value(datatype), dims=dims)
    for output in outputs(package.heads):
        datatype, dims = _shape(output, words=package.tokenizer is not None)
        entry = config.output.add(
            name=output.name, data_type=model_config.DataType.Value(datatype), dims=dims
        )
        # a number has no words; the names of a class axis are along it
        if output.part != "label" or datatype == "TYPE_STRING":
            entry.label_filename = label_file(output, package.heads)
    config.parameters[INDEPENDENT].string_value = str(package.independent).lower()
    if package.max_tokens is not None:
        config.parameters["max_tokens"].string_value = str(package.max_tokens)
    return config


def _shape(output: Output, *, words: bool) -> tuple[str, tuple[int, ...]]:
    if output.part == "probabilities":
        return "TYPE_FP32", (len(output.head.classes),)
    if output.part == "label":
        return ("TYPE_STRING" if words else "TYPE_INT64"), (1,)
    return "TYPE_FP32", (1,) if output.part == "score" else (-1,)


def _check_shared(model: Path, package: Package) -> None:
    """Refuse what cannot stand beside the versions that are there."""
    for name, content in _shared(package).items():
        try:
            found = (model / name).read_bytes()
        except FileNotFoundError:
            found = b""
        same = found == content if name != CONFIG else _parsed(found) == _parsed(content)
        if not same:
            raise TrainingError(
                str(model / name),
                "says something else of the versions that are there than of this one",
                "export under another name (--name), or remove the old model",
            )


def _parsed(content: bytes) -> Any:
    try:
        return text_format.Parse(content.decode(), model_config.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError):
        return None


def _next(model: Path) -> int:
    found = (int(entry.name) for entry in model.iterdir() if _VERSION.fullmatch(entry.name))
    return max(found, default=0) + 1


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    filled(folder, files)
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _removed(folder: Path) -> None:
    with _unless_used():
        folder.rmdir()


@contextmanager
def _unless_used() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise
