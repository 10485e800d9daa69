"""A model in memory: an ONNX runtime session behind one small interface.

Rules:

- Arrays in and out are as :mod:`protos.tensor` decodes them: BYTES are objects of ``bytes``. ONNX strings are
  Unicode, so an element that is not UTF-8 is the caller's fault (INPUT_REJECTED).
- A run's foreign errors are translated here and nowhere else; their text goes to the log, never to a client.
- A run ends early only between two operators, when its :class:`Abort` is set.
- A model that reads or answers text is one of strings here: what turns them into numbers and back
  (:mod:`workers.model.text.view`) stands between the session and the runtime.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from protos.errors import AccordError, Reason
from protos.tensor import DTYPES, TensorSpec
from workers.model import interface
from workers.model.errors import ModelError
from workers.model.files import integrity
from workers.model.pace import Pace
from workers.model.runtime import binding, marshal
from workers.model.runtime.instances import CPU
from workers.model.runtime.opening import onnxruntime, open_session
from workers.model.runtime.providers import AUTO
from workers.model.runtime.tuning import SHRINKAGE
from workers.model.text.view import text_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from protos.model import ModelSpec
    from workers.model.repository import ModelFiles
    from workers.model.runtime.binding import Array, Compute
    from workers.model.runtime.instances import Placement

__all__ = ["Abort", "Aborted", "Session", "load"]

_log = logging.getLogger(__name__)

_FROM_ONNX = {
    "bool": "BOOL",
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "bfloat16": "BF16",
    "string": "BYTES",
} | {name.lower(): name for name in DTYPES if "INT" in name}
_TENSOR = re.compile(r"tensor\((\w+)\)")

#: How the runtime, its arenas under a limit, CUDA, cuBLAS and C++ say that memory ran out.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|is smaller than requested bytes|ALLOC_FAILED|bad_alloc",
    re.IGNORECASE,
)


class Aborted(Exception):  # noqa: N818 - an outcome that was asked for, not an error
    """The run ended early because its :class:`Abort` was set."""


class Abort:
    """A switch, for any thread, that ends one run between two operators; it cannot be reset."""

    def __init__(self) -> None:
        self.run_options = onnxruntime().RunOptions()
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
        compute: What computes by it, from inputs as the interface has them.
        placement: The device it runs on.
        steady: Whether a run's work follows from the sizes of its inputs.
        texts: Texts to try it with, by input; none of an input that takes any strings.
    """

    def __init__(
        self,
        files: ModelFiles,
        view: interface.Interface,
        runtime: Any,
        compute: Compute,
        placement: Placement = CPU,
        *,
        steady: bool = False,
        texts: Mapping[str, Sequence[bytes]] | None = None,
    ) -> None:
        self.files = files
        self.texts = dict(texts or {})
        #: How long runs take.
        self.pace = Pace(steady=steady)
        self.placement = placement
        self.spec: ModelSpec = view.spec
        self.config = interface.completed_config(files, view.spec)
        self._inner = view.inner
        self._runtime = runtime
        self._inputs = {spec.name: spec for spec in self.spec.inputs}
        self._outputs = {spec.name: spec for spec in self.spec.outputs}
        self._compute = compute
        arenas = ("cpu:0", placement.text)
        self._shrink = ";".join(device for device in files.config.tuning.shrink if device in arenas)

    @property
    def providers(self) -> tuple[str, ...]:
        """The runtime's names of the execution providers really in use, in order."""
        return tuple(self._runtime.get_providers())

    def declare(self, *, independent: bool) -> None:
        """Have the interface say whether a row's answer was found not to depend on the other rows."""
        self.spec = replace(self.spec, independent=independent)
        self.config = interface.completed_config(self.files, self.spec)

    def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] = (), *, abort: Abort | None = None
    ) -> dict[str, Array]:
        """Compute outputs from inputs that were checked against :attr:`spec`.

        Args:
            inputs: Arrays by name; BYTES as objects of ``bytes``.
            outputs: Names of the outputs to compute, in order; empty for all.
            abort: Ends the run early when set.

        Raises:
            AccordError: INPUT_REJECTED, DEVICE_OOM or INTERNAL, with a foreign error as its cause.
            Aborted: If ``abort`` was set.
        """
        switch = abort or Abort()
        names = list(outputs) or list(self._outputs)
        feed = {name: self._enter(name, array) for name, array in inputs.items()}
        try:
            values = self._compute(names, feed, self._run_options(switch))
            return {name: self._leave(name, value) for name, value in zip(names, values, strict=True)}
        except AccordError:
            raise
        except Exception as error:
            if switch.is_set:
                raise Aborted from None
            raise _translated(error, self.spec.name) from error

    def _run_options(self, abort: Abort) -> Any:
        options = abort.run_options
        if self._shrink:
            options.add_run_config_entry(SHRINKAGE, self._shrink)
        return options

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


def load(
    files: ModelFiles,
    *,
    wanted: Sequence[str] = AUTO,
    threads: str = "auto",
    placement: Placement | None = None,
    require_digests: bool = False,
) -> Session:
    """Load a model.

    Args:
        files: The model on disk.
        wanted: Execution providers by short name, in order of preference; those that this build of the
            runtime lacks are passed over, and the log says what is really used. Without any, TensorRT where
            the model's config names it, CUDA, and the CPU.
        threads: ``auto``, ``auto/K`` or a number; see :func:`workers.model.runtime.threads.intra_op_threads`.
        placement: The device to run on, and on no other; None for the first that the config asks for.
        require_digests: Refuse a version without ``SHA256SUMS``; see :mod:`workers.model.files.digests`.

    Raises:
        ModelError: Naming the file at fault and the cause.
        ThreadsError: If ``threads`` cannot be read.
    """
    outline = integrity.check(files, require_digests=require_digests)
    session, device = open_session(files, wanted=wanted, threads=threads, placement=placement)
    inputs = [
        *(_spec(files, "input", node) for node in session.get_inputs()),
        *(_spec(files, "input", node, optional=True) for node in session.get_overridable_initializers()),
    ]
    outputs = [_spec(files, "output", node) for node in session.get_outputs()]
    view = text_view(files, inputs, outputs)
    found = interface.complete(files, view.inputs, view.outputs)
    loaded = Session(
        files,
        found,
        session,
        view.around(_computing(files, session, (*inputs, *outputs), device), found.spec, device),
        device,
        # how many tokens a text has shows only when it is read
        steady=outline.steady and view.feed is None,
        texts=view.examples,
    )
    if files.config.ignored:
        fields = {"model": files.name, "fields": list(files.config.ignored)}
        _log.warning("config fields without effect", extra=fields)
    return loaded


def _computing(
    files: ModelFiles, runtime: Any, tensors: Sequence[TensorSpec], placement: Placement
) -> Compute:
    datatypes = {spec.datatype for spec in tensors}
    if {"BF16", "BYTES"} <= datatypes:
        raise ModelError(
            files.path,
            "has both BF16 and string tensors, which the ONNX runtime's Python interface cannot mix",
        )
    return binding.computing(runtime, datatypes, placement)


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
