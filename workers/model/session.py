"""A model in memory: an ONNX runtime session behind one small interface.

Rules:

- The runtime is imported when the first model is loaded, so that a gateway without local models needs none.
- Arrays in and out are as :mod:`protos.tensor` decodes them: BYTES are objects of ``bytes``. ONNX strings are
  Unicode, so an element that is not UTF-8 is the caller's fault (INPUT_REJECTED).
- Foreign errors are translated here and nowhere else; their text goes to the log, never to a client.
- A run ends early only between two operators, when its :class:`Abort` is set.

Measured on CPU: without the runtime's arena a run takes the same time, and its memory goes back to the
system; with varying row counts the arena never gives it back (microsoft/onnxruntime#11627). Spinning threads
take the CPU from the neighbours, so spinning is off.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError, Reason
from protos.tensor import DTYPES, TensorSpec
from workers.model import interface, marshal, providers
from workers.model.errors import ModelError
from workers.model.threads import available_cpus, intra_op_threads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protos.model import ModelSpec
    from workers.model.repository import ModelFiles

__all__ = ["Abort", "Aborted", "Session", "load"]

_log = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]

_FROM_ONNX = {
    "bool": "BOOL",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "bfloat16": "BF16",
    "string": "BYTES",
} | {name.lower(): name for name in DTYPES if "INT" in name}
_TENSOR = re.compile(r"tensor\((\w+)\)")

#: How the runtime, CUDA, cuBLAS and C++ say that memory ran out.
_OUT_OF_MEMORY = re.compile(r"out of memory|failed to allocate memory|ALLOC_FAILED|bad_alloc", re.IGNORECASE)
#: "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from x failed:", which says nothing to an operator.
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (?:\w+ : )?(?:Load model from .*? failed:)?")


class Aborted(Exception):  # noqa: N818 - an outcome that was asked for, not an error
    """The run ended early because its :class:`Abort` was set."""


class Abort:
    """A switch, for any thread, that ends one run between two operators; it cannot be reset."""

    def __init__(self) -> None:
        self.run_options = _runtime().RunOptions()
        self.run_options.log_severity_level = 4

    def set(self) -> None:
        """End the run, also one that has not begun."""
        self.run_options.terminate = True

    @property
    def is_set(self) -> bool:
        """Whether the run was told to end."""
        return bool(self.run_options.terminate)


class Session:
    """A loaded model. Runs from several threads are safe; the runtime releases the GIL.

    Args:
        files: The model on disk.
        view: Its interface.
        runtime: The runtime's session.
    """

    def __init__(self, files: ModelFiles, view: interface.Interface, runtime: Any) -> None:
        self.files = files
        self.spec: ModelSpec = view.spec
        self.config = interface.completed_config(files, view.spec)
        self._inner = view.inner
        self._runtime = runtime
        self._inputs = {spec.name: spec for spec in self.spec.inputs}
        self._outputs = {spec.name: spec for spec in self.spec.outputs}
        datatypes = {spec.datatype for spec in (*self.spec.inputs, *self.spec.outputs)}
        self._boxed = "BF16" in datatypes
        if self._boxed and "BYTES" in datatypes:
            raise ModelError(
                files.path,
                "has both BF16 and string tensors, which the ONNX runtime's Python interface cannot mix",
            )

    @property
    def providers(self) -> tuple[str, ...]:
        """The runtime's names of the execution providers really in use, in order."""
        return tuple(self._runtime.get_providers())

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] = (), *, abort: Abort | None = None
    ) -> dict[str, Array]:
        """Compute outputs from inputs that were checked against :attr:`spec`.

        Args:
            inputs: Arrays by name; BYTES as objects of ``bytes``.
            outputs: Names of the outputs to compute, in order; empty for all.
            abort: Ends the run early when set.

        Raises:
            AccordError: INPUT_REJECTED, DEVICE_OOM or INTERNAL, with the runtime's error as its cause.
            Aborted: If ``abort`` was set.
        """
        switch = abort or Abort()
        names = list(outputs) or list(self._outputs)
        feed = {name: self._enter(name, array) for name, array in inputs.items()}
        try:
            values = self._compute(names, feed, switch)
            return {name: self._leave(name, value) for name, value in zip(names, values, strict=True)}
        except Exception as error:
            if switch.is_set:
                raise Aborted from None
            raise _translated(error, self.spec.name) from error

    def _compute(self, names: list[str], feed: Mapping[str, Array], abort: Abort) -> list[Array]:
        if not self._boxed:
            values: list[Array] = self._runtime.run(names, feed, abort.run_options)
            return values
        boxes = {name: marshal.box(array) for name, array in feed.items()}
        answers = self._runtime.run_with_ort_values(names, boxes, abort.run_options)
        return [marshal.unbox(value) for value in answers]

    def _enter(self, name: str, array: Array) -> Array:
        spec = self._inputs[name]
        if spec.datatype == "BYTES":
            array = marshal.decoded(name, array)
        if name in self._inner:
            array = array.reshape(interface.reshaped(array.shape, spec.shape, self._inner[name]))
        return np.require(array, requirements=("C", "A"))

    def _leave(self, name: str, array: Array) -> Array:
        spec = self._outputs[name]
        if spec.datatype == "BYTES":
            array = marshal.encoded(array)
        if name in self._inner:
            array = array.reshape(interface.reshaped(array.shape, self._inner[name], spec.shape))
        return array


def load(files: ModelFiles, *, wanted: Sequence[str] = providers.PREFERRED, threads: str = "auto") -> Session:
    """Load a model.

    Args:
        files: The model on disk.
        wanted: Execution providers by short name, in order of preference; those that this build of the
            runtime lacks are passed over, and the log says what is really used.
        threads: ``auto``, ``auto/K`` or a number; see :func:`workers.model.threads.intra_op_threads`.

    Raises:
        ModelError: Naming the file at fault and the cause.
        ThreadsError: If ``threads`` cannot be read.
    """
    count = intra_op_threads(threads, available_cpus())
    try:
        runtime = _runtime()
    except ImportError:
        raise ModelError(
            files.path,
            "needs the ONNX runtime, which is not installed; "
            "run pip install 'accord-gateway[cpu]' or pip install 'accord-gateway[gpu]'",
        ) from None
    chosen = providers.choose(wanted, runtime.get_available_providers())
    if not chosen:
        raise ModelError(files.path, f"{_none_usable(wanted)}; this ONNX runtime was built without them")
    session = _open(runtime, files, chosen, _session_options(runtime, count))
    used = session.get_providers()
    if not any(providers.PROVIDERS[name] in used for name in chosen):
        raise ModelError(files.path, f"{_none_usable(wanted)}; the ONNX runtime's log says why")
    found = interface.complete(
        files,
        [
            *(_spec(files, "input", node) for node in session.get_inputs()),
            *(_spec(files, "input", node, optional=True) for node in session.get_overridable_initializers()),
        ],
        [_spec(files, "output", node) for node in session.get_outputs()],
    )
    loaded = Session(files, found, session)
    facts = {"model": files.name, "version": files.version, "providers": used, "threads": count}
    _log.info("model loaded", extra={**facts, "wanted": list(wanted)})
    if files.config.ignored:
        fields = {"model": files.name, "fields": list(files.config.ignored)}
        _log.warning("config fields without effect", extra=fields)
    return loaded


def _runtime() -> Any:
    import onnxruntime  # noqa: PLC0415 - heavy, and optional

    return onnxruntime


def _none_usable(wanted: Sequence[str]) -> str:
    return f"cannot run on any of the execution providers {', '.join(map(repr, wanted))}"


def _session_options(runtime: Any, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open(runtime: Any, files: ModelFiles, chosen: Sequence[str], options: Any) -> Any:
    """Open the session on the first provider that starts; the runtime's own fallback would be silent."""
    try:
        return runtime.InferenceSession(
            str(files.path), options, providers=providers.options(chosen), enable_fallback=0
        )
    except (RuntimeError, ValueError) as error:
        if len(chosen) == 1:
            raise _unloadable(files, error) from error
        _log.warning("execution provider failed to start", exc_info=error, extra={"provider": chosen[0]})
        return _open(runtime, files, chosen[1:], options)
    except Exception as error:
        raise _unloadable(files, error) from error


def _unloadable(files: ModelFiles, error: Exception) -> ModelError:
    if type(error).__name__ == "InvalidProtobuf":
        return ModelError(files.path, "is damaged, or not an ONNX file; export or copy it again")
    lines = _PREFIX.sub("", str(error)).splitlines() or [type(error).__name__]
    return ModelError(files.path, f"cannot be loaded by the ONNX runtime ({lines[0][:500]})")


def _spec(files: ModelFiles, kind: str, node: Any, *, optional: bool = False) -> TensorSpec:
    match = _TENSOR.fullmatch(node.type)
    datatype = _FROM_ONNX.get(match[1]) if match else None
    if datatype is None:
        hint = (
            "export with zipmap=False" if node.type.startswith("seq(map") else "export it as a plain tensor"
        )
        raise ModelError(
            files.path, f"{kind} {node.name!r} is {node.type}, which the protocol cannot carry; {hint}"
        )
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in node.shape)
    return TensorSpec(node.name, datatype, shape, optional=optional)


def _translated(error: Exception, model: str) -> AccordError:
    meta = {"model": model}
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)):
        return AccordError(Reason.DEVICE_OOM, "the device ran out of memory; send fewer rows", metadata=meta)
    if type(error).__name__ == "InvalidArgument":
        return AccordError(
            Reason.INPUT_REJECTED,
            f"{model!r} refused the values of the inputs",
            field="inputs",
            metadata=meta,
        )
    return AccordError(Reason.INTERNAL, f"{model!r} failed while it computed", metadata=meta)
