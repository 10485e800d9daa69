"""A model repository on disk: which files make a model, and what its ``config.pbtxt`` says.

Layout (Triton's): ``<repository>/<model>/config.pbtxt`` (optional), label files beside it, and
``<repository>/<model>/<version>/model.onnx``; beside that file a ``tokenizer.json``, if the model reads text.
Rules:

- Versions are directories named by a positive number without leading zeros. Those that ``version_policy``
  allows are served, by default the highest one; a version asked for by its number is served alone.
- The directory's name is the model's name. Only plain names are accepted, so that none leaves its directory.
- A label file stays inside the model's directory, also where it is a link.

Nothing here opens the ONNX file. Source: Triton "Model Repository".
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.model.config import read_config, read_text
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from workers.model.config import Config

__all__ = ["CONFIG_FILE", "ModelError", "ModelFiles", "find", "find_all", "models", "served"]

CONFIG_FILE = "config.pbtxt"
DEFAULT_MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

#: Names, inodes, sizes and times of a version's files.
Fingerprint = tuple[tuple[str, int, int, int], ...]

_NAME = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]{1,128}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """One version of one model, as it lies on disk.

    Args:
        name: The model's name.
        version: The version's number, as text.
        directory: The model's directory.
        path: The ONNX file.
        config: What its ``config.pbtxt`` says.
        labels: Class names by output.
        fingerprint: What changes when any file of this version, its config or its labels change: names, sizes
            and times, as Triton's polling looks at them. Taken before the files were read.
    """

    name: str
    version: str
    directory: Path
    path: Path
    config: Config
    labels: Mapping[str, tuple[str, ...]]
    fingerprint: Fingerprint

    @property
    def config_path(self) -> Path:
        """Where the config is, or would be."""
        return self.directory / CONFIG_FILE

    @property
    def tokenizer_path(self) -> Path:
        """Where the tokenizer is, or would be."""
        return self.path.parent / TOKENIZER_FILE

    @property
    def has_tokenizer(self) -> bool:
        """Whether there is one; a link to nothing counts, and is a mistake."""
        return self.tokenizer_path.exists() or self.tokenizer_path.is_symlink()


def models(repository: Path) -> tuple[str, ...]:
    """Return the names of the models in a repository, sorted.

    Raises:
        ModelError: If the repository cannot be read.
    """
    return tuple(sorted(entry.name for entry in _directories(repository) if _NAME.fullmatch(entry.name)))


def find(repository: Path, name: str, version: str = "") -> ModelFiles:
    """Find one version of a model.

    Args:
        repository: The repository's directory.
        name: The model's name.
        version: The version wanted; empty for the highest that the config's ``version_policy`` allows.

    Raises:
        ModelError: Naming the file at fault and the cause.
    """
    found = list(find_all(repository, name, version).values())[-1]
    if isinstance(found, ModelError):
        raise found
    return found


def find_all(repository: Path, name: str, version: str = "") -> dict[str, ModelFiles | ModelError]:
    """Find all versions of a model that are to be served, lowest first.

    Args:
        repository: The repository's directory.
        name: The model's name.
        version: The one version wanted; empty for all that the config's ``version_policy`` allows.

    Returns:
        By version its files, or what is wrong with them.

    Raises:
        ModelError: If something is wrong with the model as a whole.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            repository,
            f"{name[:128]!r} cannot be a model's name; use 1 to 128 of the characters A-Z a-z 0-9 . _ -",
        )
    known = models(repository)
    if name not in known:
        raise ModelError(repository, f"has no model {name!r}; it has {_listed(known)}")
    try:
        return _read(repository / name, name, version)
    except OSError as error:
        raise ModelError(
            Path(error.filename or repository / name), f"cannot be read ({error.strerror})"
        ) from None


def _read(directory: Path, name: str, version: str) -> dict[str, ModelFiles | ModelError]:
    # first, so that whoever compares fingerprints later sees what changed while the rest was read
    around = tuple(_traces(entry for entry in directory.iterdir() if entry.is_file()))
    config = read_config(directory / CONFIG_FILE, name)
    message = config.message
    filename = message.default_model_filename or DEFAULT_MODEL_FILE
    versions = served(directory, message.version_policy, version)
    labels = {o.name: _read_labels(directory, o.label_filename) for o in message.output if o.label_filename}
    found: dict[str, ModelFiles | ModelError] = {}
    for chosen in versions:
        try:
            path = _model_file(directory, chosen, filename)
            found[chosen] = ModelFiles(
                name=name,
                version=chosen,
                directory=directory,
                path=path,
                config=config,
                labels=labels,
                fingerprint=tuple(sorted((*around, *_traces(path.parent.rglob("*"))))),
            )
        except ModelError as error:
            found[chosen] = error
    return found


def _traces(paths: Iterable[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        with suppress(OSError):  # it went while we looked, which is a change as well
            stat = path.stat()
            yield str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns


def _directories(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError as error:
        raise ModelError(path, f"cannot be read as a directory ({error.strerror})") from None


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    more = f" and {len(first) - 8} more" if len(first) > 8 else ""
    return (", ".join(repr(n) for n in first[:8]) + more) or "none"


def served(directory: Path, policy: Any, wanted: str = "") -> list[str]:
    """Return the versions of a model that are to be served, lowest first.

    Args:
        directory: The model's directory.
        policy: Its config's ``version_policy``.
        wanted: The one version wanted; empty for all that the policy allows.

    Raises:
        ModelError: If there is none.
    """
    present = sorted(int(entry.name) for entry in _directories(directory) if _VERSION.fullmatch(entry.name))
    if not present:
        raise ModelError(
            directory, "has no version; put the model into a directory named by a number, e.g. 1"
        )
    allowed = _allowed(present, policy)
    if not allowed:
        raise ModelError(
            directory / CONFIG_FILE,
            f"version_policy allows none of the versions present ({_listed(map(str, present))})",
        )
    if not wanted:
        latest_only = policy.WhichOneof("policy_choice") is None
        return [str(version) for version in (allowed[-1:] if latest_only else allowed)]
    if wanted not in map(str, allowed):
        raise ModelError(
            directory, f"has no version {wanted[:32]!r} to serve; it has {_listed(map(str, allowed))}"
        )
    return [wanted]


def _allowed(present: list[int], policy: Any) -> list[int]:
    match policy.WhichOneof("policy_choice"):
        case "specific":
            return [version for version in present if version in policy.specific.versions]
        case "latest":
            return present[-(policy.latest.num_versions or 1) :]
        case _:
            return present


def _model_file(directory: Path, version: str, filename: str) -> Path:
    if not _NAME.fullmatch(filename):
        raise ModelError(
            directory / CONFIG_FILE, f"default_model_filename {filename[:128]!r} is not a plain file name"
        )
    path = directory / version / filename
    if not path.is_file():
        raise ModelError(path, "does not exist or is not a regular file; put the ONNX model there")
    if path.stat().st_size == 0:
        raise ModelError(path, "is empty; export the model again")
    return path


def _read_labels(directory: Path, filename: str) -> tuple[str, ...]:
    path = directory / filename
    if not _inside(directory, path):
        raise ModelError(
            directory / CONFIG_FILE,
            f"label_filename {filename[:128]!r} leaves the model's directory; keep it inside",
        )
    text = read_text(path)
    if not text.strip():
        raise ModelError(path, "has no labels; write one per line")
    labels = tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))
    twice = next((label for label, count in Counter(labels).items() if count > 1), None)
    if twice is not None:
        raise ModelError(path, f"has label {twice[:64]!r} twice; labels must differ")
    return labels


def _inside(directory: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError, ValueError):  # a symlink loop or a NUL in the name
        return False
