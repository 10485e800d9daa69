"""What the frozen layers say of each token, computed once, kept in 16 bits in a file and mapped into memory.

The file's name is a hash of the frozen weights, of the tokens and of the arithmetic, so that runs share it
exactly as long as it is right. It is written under another name first: what has the right name is whole.

The folder is bounded: whoever takes a file notes the time as its access time, and removes those that were not
used for longest. A run that still has a removed file mapped keeps what is in it; a file that was used within
the hour stays, since a run's processes, and individual models, open it one after the other.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.errors import TrainingError
from training.files import whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from training.data import Labels
    from training.models.tokens import TokenFeed

__all__ = ["Prefix", "make"]

_ROWS = 64
#: Rows are sorted by length within as many, which spares padding and still leaves the file in order.
_CHUNK = 2048
#: Largest error of entering at the cached layer, relative to the largest number of the answer.
_TOLERANCE = 0.02
#: Bytes that a folder may hold, besides what was used within so many seconds.
_MOST, _RECENT_S = 4_000_000_000, 3600.0
#: Seconds after which an unfinished file is one of a run that was killed.
_DEAD_S = 86_400.0


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """A feed whose batches also have the frozen layers' answers.

    Args:
        feed: The tokens.
        states: Of each token, float16 [total, h].
    """

    feed: TokenFeed
    states: NDArray[np.float16]

    @property
    def digest(self) -> str:
        """Hash of what the model reads."""
        return self.feed.digest

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each row."""
        return self.feed.lengths

    def targets(self, labels: Labels) -> Labels:
        """Return labels whose spans are tokens."""
        return self.feed.targets(labels)

    def collate(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return a batch of rows, with ``prefix``, float32 [b, t, h]."""
        batch = self.feed.collate(rows)
        mask, places = self.feed.places(rows)
        padded = np.zeros((*mask.shape, self.states.shape[1]), np.float32)
        padded[mask] = self.states[places]
        return batch | {"prefix": torch.from_numpy(padded)}


def make(
    encoder: Any,
    feed: TokenFeed,
    folder: Path,
    *,
    device: torch.device,
    half: torch.dtype | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Prefix:
    """Return what an encoder's frozen layers say of all rows: read from a folder, or computed and kept there.

    Args:
        encoder: Its ``frozen`` layers are kept.
        feed: The tokens.
        folder: Where files are kept.
        device: Where it is computed.
        half: Arithmetic in 16 bits, if it is to be.
        report: Told after each piece how many rows of how many are done.

    Raises:
        TrainingError: If the file cannot be written, or the encoder cannot be entered in the middle.
    """
    path = folder / f"{_key(encoder, feed, half)}.npy"
    shape = (len(feed.ids), encoder.width)
    encoder.eval()
    states = _mapped(path, shape)
    if states is None:
        report(0, len(feed.starts) - 1)
        size = f"{shape[0] * shape[1] * 2 / 1e6:.0f} MB"
        try:
            _write(path, shape, _states(encoder, feed, device, half, report))
        except OSError as error:
            raise TrainingError(
                str(folder),
                f"the frozen layers' answers, {size}, cannot be kept ({error.strerror})",
                "make room (what lies there may be removed), or set encoder.cache: false",
            ) from None
        states = np.load(path, mmap_mode="r")
    prefix = Prefix(feed, states)
    _used(path)
    _tidy(folder, path)
    _check(encoder, prefix, device)
    return prefix


def _used(path: Path) -> None:
    with suppress(OSError):  # it may be another user's
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _tidy(folder: Path, taken: Path) -> None:
    """Remove what was not used for longest until the rest is within bounds, and what a killed run left."""
    now, held = time.time(), 0
    for path, size, used in sorted(_files(folder, "*.npy"), key=lambda file: -file[2]):
        held += size
        if path != taken and held > _MOST and now - used > _RECENT_S:
            held -= size
            _remove(path)
    for path, _, used in _files(folder, ".*.npy.*"):
        if now - used > _DEAD_S:
            _remove(path)


def _files(folder: Path, pattern: str) -> list[tuple[Path, int, float]]:
    """Return files, their sizes, and when they were last used or written to."""
    found = []
    for path in folder.glob(pattern):
        with suppress(OSError):  # another run removed it just now
            about = path.stat()
            found.append((path, about.st_size, max(about.st_atime, about.st_mtime)))
    return found


def _remove(path: Path) -> None:
    with suppress(OSError):  # another run did, or it is another user's
        path.unlink()


def _key(encoder: Any, feed: TokenFeed, half: torch.dtype | None) -> str:
    later = {id(p) for layer in encoder.layers[encoder.frozen :] for p in layer.parameters()}
    digest = sha256(json.dumps([encoder.describe(), encoder.frozen, str(half), feed.digest]).encode())
    for name, parameter in encoder.named_parameters():
        if id(parameter) not in later:
            digest.update(name.encode() + parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _mapped(path: Path, shape: tuple[int, int]) -> Any:
    """Return what a file holds, or None; from then on it may be removed."""
    try:
        states = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return states if states.shape == shape else None


def _states(
    encoder: Any,
    feed: TokenFeed,
    device: torch.device,
    half: torch.dtype | None,
    report: Callable[[int, int], None],
) -> Any:
    n = len(feed.starts) - 1
    for begin in range(0, n, _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, n))
        found = np.empty((feed.starts[rows[-1] + 1] - feed.starts[begin], encoder.width), np.float16)
        by_length = rows[np.argsort(feed.lengths[rows], kind="stable")]
        for piece in np.split(by_length, range(_ROWS, len(rows), _ROWS)):
            batch = {name: tensor.to(device) for name, tensor in feed.collate(piece).items()}
            with torch.no_grad(), torch.autocast(device.type, dtype=half, enabled=half is not None):
                states = encoder.prefix(batch, encoder.frozen)
            mask, places = feed.places(piece)
            found[places - feed.starts[begin]] = states.float().cpu().numpy()[mask]
        yield found
        report(begin + len(rows), n)


def _write(path: Path, shape: tuple[int, int], pieces: Any) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)),
        "fortran_order": False,
        "shape": shape,
    }
    with whole(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        # asked for at once: a disk that is too full says so before the work
        os.posix_fallocate(file.fileno(), 0, file.tell() + shape[0] * shape[1] * 2)
        for piece in pieces:
            file.write(piece.tobytes())


def _check(encoder: Any, prefix: Prefix, device: torch.device) -> None:
    """Enter in the middle once and see that the answer is that of going all the way."""
    rows = np.arange(min(4, len(prefix.feed.starts) - 1))
    batch = {name: tensor.to(device) for name, tensor in prefix.collate(rows).items()}
    where = f"{type(encoder.model).__name__} behind layer {encoder.frozen}"
    with torch.no_grad():
        through = encoder({name: tensor for name, tensor in batch.items() if name != "prefix"}).row
        try:
            entered = encoder(batch).row
        except (AttributeError, TypeError, ValueError, RuntimeError) as error:
            problem = f"{where} cannot be entered ({error})"
            raise TrainingError("encoder.cache", problem, "set encoder.cache: false") from None
    apart = float((entered - through).abs().max() / through.abs().max().clamp(min=1e-6))
    if not apart < _TOLERANCE:
        problem = f"entering {where} changes its answer by {apart:.1%}"
        raise TrainingError("encoder.cache", problem, "set encoder.cache: false")
