"""What a warm-up runs a model on: the samples of ``model_warmup``, then two of our own.

Rules, as Triton's documentation and source have them:

- An input of a sample has its whole shape in ``dims``, without the row dimension; its one row is repeated
  ``batch_size`` times. A sample runs ``count`` times, once where that is 0, and not at all where
  ``batch_size`` is 0.
- ``input_data_file`` is a file in ``<model>/warmup``: raw little-endian elements of one row, those of
  TYPE_STRING each behind its length in four bytes. ``zero_data`` and ``random_data`` count where they are
  set, also to false; strings are empty in both.

Where we differ: random data is random bytes in Triton, which makes NaN and indices out of range, so here it
is finite and small; a warm-up should not fail on what no client sends. A file that is too long is refused,
not cut. Our own samples, one row and a few, repeat the first entry's row; without one they are zeros, and a
dynamic dimension has length 1. A model that reads text gets real words: a row of the longest text that it
takes, then a few rows of several lengths.

Sources: Triton ``model_config.proto``, ``ModelWarmup``; Triton core, ``GenerateWarmupData``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.oip import model_config
from protos.tensor import DTYPES, Tensor, TensorFault, checked_count
from workers.model.errors import ModelError
from workers.model.files.confined import is_plain, open_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from protos.model import ModelSpec
    from protos.tensor import TensorSpec
    from workers.model.repository import ModelFiles

__all__ = ["Sample", "given_rows", "samples", "zero_row"]

Array = np.ndarray[Any, np.dtype[Any]]

_FOLDER = "warmup"
#: Rows of our second sample: enough to leave the one-row paths of kernels, few enough for any model.
_FEW_ROWS = 4
#: No input of a request is as large.
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Inputs to run a model on.

    Args:
        source: Where they come from, for messages.
        rows: How many rows they have; 1 where the model does not batch.
        count: How often to run.
        inputs: Arrays by name, as a session takes them.
        cure: What to do where the model cannot take them.
    """

    source: str
    rows: int
    count: int
    inputs: Mapping[str, Array]
    cure: str = "give what it can in model_warmup"


def samples(
    files: ModelFiles, spec: ModelSpec, texts: Mapping[str, Sequence[bytes]] | None = None
) -> Iterator[Sample]:
    """Make the samples of a model.

    Args:
        files: The model on disk.
        spec: Its interface.
        texts: Texts by input, to be taken in turn instead of zeros.

    Raises:
        ModelError: Naming the field of the config, or the file, that is wrong.
    """
    first: tuple[str, Mapping[str, Array]] | None = None
    for message in files.config.message.model_warmup:
        setting = _Setting(files, spec, message)
        row = setting.row()
        first = first or (setting.source, row)
        if message.batch_size:
            yield _sample(spec, setting.source, row, rows=message.batch_size, count=message.count or 1)
    source, row = first or ("words" if texts else "zeros", zero_row(files, spec))
    for rows in sorted({1, min(_FEW_ROWS, spec.max_rows or 1)}):
        sample = _sample(spec, source, row, rows=rows, count=1)
        yield sample if first or not texts else _worded(sample, texts)


def given_rows(files: ModelFiles, spec: ModelSpec) -> list[Mapping[str, Array]]:
    """Return the row of each entry of ``model_warmup``, without the row dimension.

    Raises:
        ModelError: Naming the field of the config, or the file, that is wrong.
    """
    return [_Setting(files, spec, message).row() for message in files.config.message.model_warmup]


def zero_row(files: ModelFiles, spec: ModelSpec, *, length: int = 1) -> Mapping[str, Array]:
    """Return a row of zeros for the inputs that are not optional, without the row dimension.

    Args:
        files: The model on disk.
        spec: Its interface.
        length: The length of dynamic dimensions.

    Raises:
        ModelError: If a row would be too large.
    """
    row = {}
    for tensor in _required(spec):
        dims = tuple(length if size == -1 else size for size in _row_shape(spec, tensor))
        _check_size(files, tensor, dims)
        row[tensor.name] = _zeros(tensor, dims)
    return row


class _Setting:
    """One entry of ``model_warmup``.

    Args:
        files: The model on disk.
        spec: Its interface.
        message: The ``ModelWarmup`` message.
    """

    def __init__(self, files: ModelFiles, spec: ModelSpec, message: Any) -> None:
        self._files = files
        self._spec = spec
        self._message = message
        self.source = f"model_warmup {message.name!r}"

    def row(self) -> Mapping[str, Array]:
        """Return one row of each input, without the row dimension."""
        inputs, known = self._message.inputs, {tensor.name: tensor for tensor in self._spec.inputs}
        if unknown := set(inputs) - set(known):
            raise self._fault(f"names input {min(unknown)!r}, which the model has not")
        if missing := {tensor.name for tensor in _required(self._spec)} - set(inputs):
            raise self._fault(f"lacks input {min(missing)!r}; give every input that is not optional")
        most = self._spec.max_rows or 1
        if self._message.batch_size > most:
            raise self._fault(
                f"has batch_size {self._message.batch_size}, but the model takes at most {most}; lower it"
            )
        return {name: self._values(known[name], inputs[name]) for name in sorted(inputs)}

    def _values(self, tensor: TensorSpec, wish: Any) -> Array:
        wanted = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
        if wish.data_type != model_config.DataType.Value(wanted):
            raise self._fault(f"gives input {tensor.name!r} another data_type than the model's; use {wanted}")
        dims, pattern = tuple(wish.dims), _row_shape(self._spec, tensor)
        if min(dims, default=0) < 0 or not replace(tensor, shape=pattern).accepts(dims):
            raise self._fault(
                f"gives input {tensor.name!r} dims {list(dims)}; use lengths that fit {list(pattern)}"
            )
        _check_size(self._files, tensor, dims, rows=self._message.batch_size)
        match wish.WhichOneof("input_data_type"):
            case "zero_data":
                return _zeros(tensor, dims)
            case "random_data":
                return _random(tensor, dims)
            case "input_data_file":
                return self._read(tensor, dims, wish.input_data_file)
            case _:
                raise self._fault(
                    f"does not say what input {tensor.name!r} gets; "
                    "add zero_data, random_data or input_data_file"
                )

    def _read(self, tensor: TensorSpec, dims: tuple[int, ...], name: str) -> Array:
        if not is_plain(name):
            raise self._fault(
                f"has input_data_file {name[:128]!r}, which is not a path inside {_FOLDER}; put it there"
            )
        path = self._files.directory / _FOLDER / name
        with open_inside(path, self._files.directory) as file:
            raw = file.read(_MAX_BYTES)
        try:
            return Tensor.from_raw(tensor.name, tensor.datatype, dims, raw).array()
        except TensorFault as fault:
            raise ModelError(path, f"{fault.problem}; write one row of {tensor.name!r}") from None

    def _fault(self, cause: str) -> ModelError:
        return ModelError(self._files.config_path, f"{self.source} {cause}")


def _required(spec: ModelSpec) -> Iterator[TensorSpec]:
    return (tensor for tensor in spec.inputs if not tensor.optional)


def _row_shape(spec: ModelSpec, tensor: TensorSpec) -> tuple[int, ...]:
    return tensor.shape[1:] if spec.batches else tensor.shape


def _sample(spec: ModelSpec, source: str, row: Mapping[str, Array], *, rows: int, count: int) -> Sample:
    repeated = {name: np.repeat(array[np.newaxis], rows, axis=0) for name, array in row.items()}
    return Sample(source=source, rows=rows, count=count, inputs=repeated if spec.batches else row)


def _worded(sample: Sample, texts: Mapping[str, Sequence[bytes]]) -> Sample:
    """Return a sample with texts where they belong, in its shapes."""
    inputs = dict(sample.inputs)
    for name, some in texts.items():
        inputs[name] = np.empty(inputs[name].shape, object)
        inputs[name].reshape(-1)[:] = [some[i % len(some)] for i in range(inputs[name].size)]
    return replace(sample, inputs=inputs, cure="say a smaller max_tokens in the parameters")


def _check_size(files: ModelFiles, tensor: TensorSpec, dims: tuple[int, ...], *, rows: int = 1) -> None:
    """Refuse what would have to be allocated first to be seen to be too much."""
    try:
        count = max(rows, 1) * checked_count(tensor.name, tensor.datatype, dims)
    except TensorFault as fault:
        raise ModelError(files.path, f"cannot be warmed up: input {tensor.name!r} {fault.problem}") from None
    size = count * DTYPES[tensor.datatype].itemsize
    if size > _MAX_BYTES:
        raise ModelError(
            files.path,
            f"cannot be warmed up: input {tensor.name!r} takes {size} bytes, more than {_MAX_BYTES}; "
            "give smaller dims or a smaller batch_size in model_warmup of config.pbtxt",
        )


def _zeros(tensor: TensorSpec, dims: tuple[int, ...]) -> Array:
    if tensor.datatype == "BYTES":
        return np.full(dims, b"", object)
    return np.zeros(dims, DTYPES[tensor.datatype])


def _random(tensor: TensorSpec, dims: tuple[int, ...]) -> Array:
    if tensor.datatype == "BYTES":
        return _zeros(tensor, dims)
    noise, dtype = np.random.default_rng(0).random(dims), DTYPES[tensor.datatype]
    return (noise < 0.5 if dtype.kind in "biu" else noise).astype(dtype)
