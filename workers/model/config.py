"""Reading ``config.pbtxt``, strictly.

An unknown field is an error with its line. What :mod:`workers.model.fields` refuses is an error, and what has
no effect is listed in :attr:`Config.ignored`. Source: Triton ``model_config.proto``.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from protos.oip import model_config
from workers.model.errors import ModelError
from workers.model.fields import FIELDS, Effect, entry_of, said, without_effect
from workers.model.runtime.instances import PlacementError, groups
from workers.model.runtime.options import OptionError
from workers.model.runtime.tuning import Tuning, read_tuning, unknown_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BACKEND", "PLATFORM", "Config", "read_config", "read_message", "read_text"]

#: Triton's names of the only kind of model that a worker runs.
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"

#: Most bytes of a config or a label file, and of what is told of an error in one.
_MAX_BYTES, _MAX_TOLD = 4 << 20, 512
_POSITION = re.compile(r"^\d+:\d+ : ")
#: proto3 cannot tell an absent number from 0, and here they differ: 0 says that the model does not batch.
_SAYS_BATCH = re.compile(r"\bmax_batch_size\s*:")
_STRING_OR_COMMENT = re.compile(r"""\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*""")


@dataclass(frozen=True, slots=True)
class Config:
    """What a ``config.pbtxt`` says.

    Args:
        message: The ``ModelConfig`` message; its name is always set.
        batch_limit: Its ``max_batch_size``, or None where it says nothing.
        tuning: How the model is to run.
        ignored: Dotted paths of its fields that have no effect here.
    """

    message: Any
    batch_limit: int | None
    tuning: Tuning = field(default_factory=Tuning)
    ignored: tuple[str, ...] = ()


def read_text(path: Path) -> str:
    """Read a UTF-8 file; a pipe or a device neither blocks nor is read.

    Raises:
        ModelError: If it cannot be read, is no regular file or is larger than any should be.
    """
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ModelError(path, "is not a regular file; put a plain copy of the file there")
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror})") from None
    if len(content) > _MAX_BYTES:
        raise ModelError(path, f"is larger than {_MAX_BYTES} bytes; is it the right file?")
    try:
        return content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ModelError(path, f"is not UTF-8 text (byte {error.start})") from None


def read_message(path: Path) -> tuple[Any, str]:
    """Read what a config says, whatever kind of model it is of.

    Args:
        path: The ``config.pbtxt``.

    Returns:
        The ``ModelConfig`` message, and its text.

    Raises:
        ModelError: With the line where the text is wrong.
    """
    text = read_text(path)
    message = model_config.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        where = f"line {line}: " if line else ""
        raise ModelError(path, f"{where}{_POSITION.sub('', str(error))[:_MAX_TOLD]}") from None
    return message, text


def read_config(path: Path, name: str) -> Config:
    """Read and check a model's config; a missing file is an empty config.

    Args:
        path: The ``config.pbtxt``.
        name: The model's name, as its directory says.

    Raises:
        ModelError: With the line where the text is wrong, or the field that is not offered.
    """
    if not path.exists() and not path.is_symlink():  # a link to nothing is a mistake
        return Config(model_config.ModelConfig(name=name), None)
    message, text = read_message(path)
    _check(path, message, name)
    fields = said(message)
    _check_offered(path, fields)
    tuning = _read_tuning(path, message)
    message.name = name
    says_batch = _SAYS_BATCH.search(_STRING_OR_COMMENT.sub("", text))
    return Config(
        message,
        message.max_batch_size if says_batch else None,
        tuning,
        (*without_effect(fields), *unknown_parameters(message)),
    )


def _check(path: Path, message: Any, name: str) -> None:
    if message.name and message.name != name:
        raise ModelError(
            path, f"names the model {message.name!r}, but its directory is {name!r}; make them equal"
        )
    wanted = (message.platform or PLATFORM, message.backend or BACKEND)
    if wanted != (PLATFORM, BACKEND):
        raise ModelError(
            path,
            f"asks for {wanted[wanted[0] == PLATFORM]!r}, but a worker runs only {PLATFORM!r} "
            f"(backend {BACKEND!r}); export to ONNX or serve the model with Triton",
        )
    if message.max_batch_size < 0:
        raise ModelError(path, f"max_batch_size is {message.max_batch_size}; it may not be negative")
    _check_tensors(path, "input", message.input)
    _check_tensors(path, "output", message.output)


def _check_tensors(path: Path, kind: str, tensors: Sequence[Any]) -> None:
    times = Counter(tensor.name for tensor in tensors)
    for tensor in tensors:
        if not tensor.name:
            raise ModelError(path, f"an {kind} has no name; name it as the ONNX file does")
        if times[tensor.name] > 1:
            raise ModelError(path, f"{kind} {tensor.name!r} is listed twice; list it once")
        if tensor.data_type not in model_config.DataType.values():
            raise ModelError(path, f"{kind} {tensor.name!r} has unknown data_type {tensor.data_type}")


def _check_offered(path: Path, fields: Sequence[str]) -> None:
    for entry in filter(None, map(entry_of, fields)):
        if FIELDS[entry].effect is Effect.REFUSED:
            raise ModelError(path, f"{entry} is not offered: {FIELDS[entry].text}")


def _read_tuning(path: Path, message: Any) -> Tuning:
    try:
        groups(message)
        return read_tuning(message)
    except (OptionError, PlacementError) as error:
        raise ModelError(path, str(error)) from None
