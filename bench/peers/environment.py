"""Virtual environments of the foreign servers: created on first use, kept, renewed when their lock changes.

Each is made from ``requirements/peers/<name>.lock`` in ``build/peers/<name>``. Any number of processes may
ask at once: one makes it, the others wait. What marks it as whole is written last, so one that was
interrupted is made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers import NotInstalled

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Environment", "alone", "environment"]

ROOT = Path(__file__).parents[2]
LOCKS, HOMES = ROOT / "requirements" / "peers", ROOT / "build" / "peers"
INSTALL_TIMEOUT_S = 1800.0
_STAMP = "made-from.sha256"


@dataclass(frozen=True, slots=True)
class Environment:
    """An installed environment.

    Args:
        home: Its directory.
    """

    home: Path

    @property
    def python(self) -> Path:
        """Its interpreter; run scripts with ``-P``, so that their own directory hides no module."""
        return self.home / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages lie."""
        return self.home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"


def environment(name: str) -> Environment:
    """Return an environment, and create it first if it is missing or made from another lock.

    Args:
        name: The lock's name, such as ``triton``.

    Raises:
        NotInstalled: If it cannot be created, with the installer's own words.

    Example:
        ``subprocess.run([environment("kserve").python, "-P", "client.py", address])``
    """
    lock, found = LOCKS / f"{name}.lock", Environment(HOMES / name)
    wanted = _digest(lock)
    HOMES.mkdir(parents=True, exist_ok=True)
    with alone(HOMES / f"{name}.flock"):
        stamp = found.home / _STAMP
        if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
            _say(f"peers: installing {name} into {found.home} ...")
            _uv(name, "venv", "--clear", "--python", sys.executable, str(found.home))
            _uv(name, "pip", "sync", "--python", str(found.python), "--require-hashes", str(lock))
            stamp.write_text(wanted, "utf-8")
            _say(f"peers: {name} is installed")
    return found


def _digest(lock: Path) -> str:
    """Return what an environment depends on: its lock and our interpreter."""
    return hashlib.sha256(f"{sys.version}\n{lock.read_text('utf-8')}".encode()).hexdigest()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other processes out, by a lock on a file; the kernel lets them in should this one die."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _uv(name: str, *arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    try:
        subprocess.run(  # noqa: S603 - our own installer
            [uv, "--quiet", *arguments], check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
        )
    except FileNotFoundError:
        raise NotInstalled(f"{name} needs uv beside {sys.executable}; run make setup") from None
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"{name} was not installed within {INSTALL_TIMEOUT_S:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise NotInstalled(f"{name} cannot be installed:\n{error.stderr.strip()}") from None


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
