"""Reading ``config.pbtxt``, strictly.

An unknown field is an error with its line. What would change the meaning of an answer and is not offered is
refused; what only tunes Triton has no effect and is listed in :attr:`Config.ignored`.
Source: Triton ``model_config.proto``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from protos.oip import model_config
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BACKEND", "PLATFORM", "Config", "read_config", "read_text"]

#: Triton's names of the only kind of model that a worker runs.
PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"

_POSITION = re.compile(r"^\d+:\d+ : ")
#: proto3 cannot tell an absent number from 0, and here they differ: 0 says that the model does not batch.
_SAYS_BATCH = re.compile(r"\bmax_batch_size\s*:")
_STRING_OR_COMMENT = re.compile(r"""\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*""")

#: Fields that would change what an answer means, and what to do instead.
_REFUSED = {
    "sequence_batching": "a worker keeps no state between calls; serve the model with Triton",
    "ensemble_scheduling": "a worker hosts one model; describe the ensemble in the gateway's config",
    "batch_input": "a worker adds no tensors of its own; serve the model with Triton",
    "batch_output": "a worker scatters no outputs; serve the model with Triton",
    "model_operations": "custom operator libraries are not loaded; export with standard operators",
    "model_repository_agents": "agents are not run; put the prepared files into the repository",
    "cc_model_filenames": "give one file by default_model_filename",
}
_IGNORED = (
    "runtime",
    "optimization",
    "dynamic_batching",
    "instance_group",
    "metric_tags",
    "parameters",
    "response_cache",
    "model_metrics",
)


@dataclass(frozen=True, slots=True)
class Config:
    """What a ``config.pbtxt`` says.

    Args:
        message: The ``ModelConfig`` message; its name is always set.
        batch_limit: Its ``max_batch_size``, or None where it says nothing.
        ignored: Its fields that have no effect here.
    """

    message: Any
    batch_limit: int | None
    ignored: tuple[str, ...] = ()


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        ModelError: If it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ModelError(path, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ModelError(path, f"is not UTF-8 text (byte {error.start})") from None


def read_config(path: Path, name: str) -> Config:
    """Read and check a model's config; a missing file is an empty config.

    Args:
        path: The ``config.pbtxt``.
        name: The model's name, as its directory says.

    Raises:
        ModelError: With the line where the text is wrong, or the field that is not offered.
    """
    if not path.exists():
        return Config(model_config.ModelConfig(name=name), None)
    text = read_text(path)
    message = model_config.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        where = f"line {line}: " if line else ""
        raise ModelError(path, f"{where}{_POSITION.sub('', str(error))}") from None
    _check(path, message, name)
    message.name = name
    says_batch = _SAYS_BATCH.search(_STRING_OR_COMMENT.sub("", text))
    return Config(message, message.max_batch_size if says_batch else None, _ignored(message))


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
    for field, remedy in _REFUSED.items():
        if _present(message, field):
            raise ModelError(path, f"{field} is not offered: {remedy}")
    if message.model_transaction_policy.decoupled:
        raise ModelError(path, "decoupled answers are not offered; serve the model with Triton")
    _check_tensors(path, "input", message.input)
    _check_tensors(path, "output", message.output)


def _check_tensors(path: Path, kind: str, tensors: Sequence[Any]) -> None:
    names = [tensor.name for tensor in tensors]
    for tensor in tensors:
        if not tensor.name:
            raise ModelError(path, f"an {kind} has no name; name it as the ONNX file does")
        if names.count(tensor.name) > 1:
            raise ModelError(path, f"{kind} {tensor.name!r} is listed twice; list it once")
        if tensor.data_type not in model_config.DataType.values():
            raise ModelError(path, f"{kind} {tensor.name!r} has unknown data_type {tensor.data_type}")
        if tensor.is_shape_tensor or getattr(tensor, "allow_ragged_batch", False):
            raise ModelError(path, f"{kind} {tensor.name!r} may be neither a shape tensor nor ragged here")


def _present(message: Any, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in message.ListFields())


def _ignored(message: Any) -> tuple[str, ...]:
    fields = [field for field in _IGNORED if _present(message, field)]
    if any(source.input_data_file for w in message.model_warmup for source in w.inputs.values()):
        fields.append("model_warmup.inputs.input_data_file")
    return tuple(fields)
