"""What an ONNX file asks for, read before a runtime acts on it.

The file's message is parsed and walked; external data is named, never opened. Rules:

- Operators come from the domains that the runtime itself implements, or from functions inside the file, whose
  bodies obey the same rules. A compiled engine (``EPContext``) is code that nobody can check.
- External data is named by a plain relative path, with offset and length in decimal; every place where a
  tensor can stand counts: graphs, subgraphs, attributes, functions, training information, both halves of
  sparse tensors.
- Sizes are bounded as the runtime would meet them: functions are walked where they are called, because it
  copies them there, and a tensor counts with the elements that it declares, stored or not. Each bound is far
  beyond honest use.

Sources: ``onnx.proto``; ONNX "External Data"; ONNX Runtime "Contrib operators".
"""

from __future__ import annotations

import re
from collections import ChainMap
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from workers.model.errors import ModelError
from workers.model.files.confined import is_plain
from workers.model.files.steady import is_steady

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

__all__ = ["DOMAINS", "ExternalData", "Outline", "inspect"]

#: Domains of operators that the ONNX runtime brings along; the first two are the same.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")

#: An operator of an allowed domain whose content is machine code, in the file or beside it.
_ENGINE = "EPContext"

_MAX_NESTING = 24
_MAX_PARTS = 500_000
#: ONNX element type -> bits per element; a type that is not here counts as the widest.
_BITS = (
    dict.fromkeys((2, 3, 8, 9, 17, 18, 19, 20, 24, 27, 28), 8)
    | dict.fromkeys((4, 5, 10, 16), 16)
    | dict.fromkeys((1, 6, 12), 32)
    | dict.fromkeys((7, 11, 13, 14), 64)
    | dict.fromkeys((21, 22, 23), 4)
    | dict.fromkeys((25, 26), 2)
)
_WIDEST = 128
_FLOAT, _INT64, _EXTERNAL = 1, 7, 1
_MAX_RANK = 64
_DECIMAL = re.compile(r"[0-9]{1,18}")

#: Constants in scope, by name, that could be the shape of a tensor.
_Scope: TypeAlias = "ChainMap[str, list[int]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalData:
    """A range of another file that holds a tensor's elements.

    Args:
        tensor: The tensor's name.
        location: The file, relative to the ONNX file's directory.
        end: The first byte after the range.
    """

    tensor: str
    location: str
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What an ONNX file asks for.

    Args:
        external: The ranges of other files that it reads.
        declared: Bytes of all its tensors, as their shapes and types say.
        largest: The name of the largest of them.
        steady: Whether a run's work follows from the sizes of its inputs.
    """

    external: Collection[ExternalData]
    declared: int
    largest: str
    steady: bool


def inspect(path: Path, file: BinaryIO) -> Outline:
    """Parse an ONNX file and hold its structure against the rules.

    Args:
        path: Its path, for messages.
        file: The open file.

    Raises:
        ModelError: Naming what offends, or if the file cannot be parsed.
    """
    damaged = ModelError(path, "is damaged, or not an ONNX file; export or copy it again")
    model_class, decode_error = _onnx(path)
    try:
        model = model_class.FromString(file.read())
        if not model.HasField("graph"):
            raise damaged
        walk = _Walk(path, model.functions)
        walk.model(model)
    except (decode_error, UnicodeDecodeError):
        raise damaged from None
    return Outline(
        external=walk.external,
        declared=walk.declared,
        largest=walk.largest[1],
        steady=is_steady(model.graph, {(f.domain, f.name) for f in model.functions}),
    )


def _onnx(path: Path) -> tuple[Any, type[Exception]]:
    try:
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - beside its only use
        from onnx import ModelProto  # noqa: PLC0415 - heavy, and optional
    except ImportError:
        raise ModelError(
            path,
            "needs the onnx package, which is not installed; "
            "run pip install 'accord-gateway[cpu]' or pip install 'accord-gateway[gpu]'",
        ) from None
    return ModelProto, DecodeError


class _Walk:
    """One pass over a model's message that adds up what it asks for.

    Args:
        path: The ONNX file, for messages.
        functions: The model's own functions.
    """

    def __init__(self, path: Path, functions: Iterable[Any]) -> None:
        self._path = path
        self._functions = {_key(f.domain, f.name, f.overload): f for f in functions}
        self._parts = 0
        self.external: set[ExternalData] = set()
        self.declared = 0
        self.largest = (0, "")

    def model(self, model: Any) -> None:
        self._count(model.functions, model.training_info)
        if len(self._functions) < len(model.functions):
            raise ModelError(self._path, "defines a function twice; export it again")
        self._graph(model.graph, 0, ChainMap())
        for training in model.training_info:
            self._graph(training.initialization, 0, ChainMap())
            self._graph(training.algorithm, 0, ChainMap())
        for function in model.functions:  # also one that nothing calls
            self._function(function, 0)

    def _graph(self, graph: Any, depth: int, scope: _Scope) -> None:
        self._count(graph.initializer, graph.sparse_initializer)
        for tensor in graph.initializer:
            self._tensor(tensor)
        for sparse in graph.sparse_initializer:
            self._sparse(sparse)
        self._nodes(graph.node, depth, scope.new_child(dict(_shapes((t.name, t) for t in graph.initializer))))

    def _function(self, function: Any, depth: int) -> None:
        self._attributes(function.attribute_proto, depth, ChainMap())
        self._nodes(function.node, depth, ChainMap())

    def _nodes(self, nodes: Any, depth: int, scope: _Scope) -> None:
        if depth > _MAX_NESTING:
            raise ModelError(
                self._path, f"nests subgraphs and functions deeper than {_MAX_NESTING}; export it flatter"
            )
        self._count(nodes)
        for node in nodes:  # in the order of computation, as ONNX demands
            self._operator(node, depth)
            self._attributes(node.attribute, depth, scope)
            if node.op_type == "Constant" and node.output:
                scope.update(_shapes((node.output[0], a.t) for a in node.attribute))
                scope.update((node.output[0], list(a.ints)) for a in node.attribute if a.ints)
            if node.op_type == "ConstantOfShape" and node.input:
                self._generated(node, scope.get(node.input[0], []))

    def _operator(self, node: Any, depth: int) -> None:
        key = _key(node.domain, node.op_type, node.overload)
        if key in self._functions:
            self._function(self._functions[key], depth + 1)
        elif node.domain not in DOMAINS:
            raise ModelError(
                self._path,
                f"uses operator {node.op_type[:128]!r} of domain {node.domain[:128]!r}, but only those of "
                f"{', '.join(DOMAINS[1:])} are allowed; export it with standard operators",
            )
        elif node.op_type == _ENGINE:
            raise ModelError(
                self._path,
                f"contains a compiled engine ({_ENGINE}), which cannot be checked; export plain ONNX",
            )

    def _attributes(self, attributes: Any, depth: int, scope: _Scope) -> None:
        self._count(attributes)
        for attribute in attributes:
            self._count(attribute.tensors, attribute.graphs, attribute.sparse_tensors)
            for tensor in (*_set(attribute, "t"), *attribute.tensors):
                self._tensor(tensor)
            for sparse in (*_set(attribute, "sparse_tensor"), *attribute.sparse_tensors):
                self._sparse(sparse)
            for graph in (*_set(attribute, "g"), *attribute.graphs):
                self._graph(graph, depth + 1, scope)

    def _tensor(self, tensor: Any) -> None:
        size = self._declare(tensor.name, tensor.dims, tensor.data_type)
        if tensor.external_data or tensor.data_location == _EXTERNAL:
            self.external.add(self._range(tensor, size))

    def _sparse(self, sparse: Any) -> None:
        self._tensor(sparse.values)
        self._tensor(sparse.indices)
        self._declare(sparse.values.name, sparse.dims, sparse.values.data_type)

    def _generated(self, node: Any, dims: list[int]) -> None:
        datatype = next((a.t.data_type for a in node.attribute if a.name == "value"), _FLOAT)
        self._declare(node.output[0] if node.output else "", dims, datatype)

    def _declare(self, name: str | bytes, dims: Any, datatype: int) -> int:
        shown = _text(name)[:128]
        if len(dims) > _MAX_RANK or any(d < 0 for d in dims):
            raise ModelError(
                self._path,
                f"gives tensor {shown!r} impossible dimensions {list(dims[:8])}; export it again",
            )
        size: int = -(-prod(dims) * _BITS.get(datatype, _WIDEST) // 8)
        self.declared += size
        self.largest = max(self.largest, (size, shown))
        return size

    def _range(self, tensor: Any, size: int) -> ExternalData:
        told = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
        of = f"keeps tensor {tensor.name[:128]!r} in external data"
        if len(told) < len(tensor.external_data):
            raise ModelError(self._path, f"{of} with a key given twice; save it again")
        location = told.get("location", "")
        if not is_plain(location):
            raise ModelError(
                self._path,
                f"{of} at {location[:128]!r}, which is not a path inside its directory; "
                "save the weights beside the model",
            )
        numbers = [told.get("offset", "0"), told.get("length", str(size))]
        if not all(_DECIMAL.fullmatch(number) for number in numbers) or int(numbers[1]) != size:
            raise ModelError(
                self._path,
                f"{of} at offset {numbers[0][:32]!r} with length {numbers[1][:32]!r}, but its shape needs "
                f"{size} bytes; save it again",
            )
        return ExternalData(tensor=tensor.name[:128], location=location, end=int(numbers[0]) + size)

    def _count(self, *parts: Collection[Any]) -> None:
        """Count before walking: a million empty messages take two megabytes in a file."""
        self._parts += sum(map(len, parts))
        if self._parts > _MAX_PARTS:
            raise ModelError(
                self._path,
                f"has more than {_MAX_PARTS} nodes, attributes and tensors, functions counted where they are "
                "called; export a smaller graph",
            )


def _text(field: str | bytes) -> str:
    """Return a name; the parser hands out as bytes what is not UTF-8."""
    return field if isinstance(field, str) else field.decode()


def _key(domain: str, name: str, overload: str) -> tuple[str, str, str]:
    return ("" if domain == "ai.onnx" else _text(domain), _text(name), _text(overload))


def _set(message: Any, field: str) -> tuple[Any, ...]:
    return (getattr(message, field),) if message.HasField(field) else ()


def _shapes(tensors: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[int]]]:
    """Decode those tensors that could be the shape of another one."""
    for name, tensor in tensors:
        if tensor.data_type == _INT64 and len(tensor.dims) == 1 and 0 < tensor.dims[0] <= _MAX_RANK:
            raw = tensor.raw_data[: 8 * _MAX_RANK]
            words = (raw[i : i + 8] for i in range(0, len(raw), 8))
            yield name, list(tensor.int64_data) or [int.from_bytes(w, "little", signed=True) for w in words]
