"""From a torch model to an ONNX file that answers probabilities, and the proof that both say the same.

Rules, each of which something broke without:

- The graph comes from torch's own tracing (``dynamo``) at opset 20, with plain attention and open numbers
  of rows and tokens, in one file: weights beside it would be one more thing to lose.
- Probabilities are part of the graph, the fitted temperature included. Whoever serves it needs no code of
  ours.
- Parity is checked on real rows of many lengths, alone and among others, to 1e-5 in every number (of it,
  where it is above 1); what a rounded last digit decides (``label`` where two classes tie) is not compared.

Sources: PyTorch "torch.onnx"; C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from training.compress.running import answers, open_session
from training.data.dataset import Kind
from training.errors import TrainingError
from training.export.interface import outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from training.export.interface import Head

__all__ = ["OPSET", "PARITY", "Answering", "check_parity", "to_onnx"]

Array = np.ndarray[Any, np.dtype[Any]]

OPSET = 20
#: How far any number may be from torch's.
PARITY = 1e-5
#: Inputs whose second dimension counts tokens.
_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "context")


class Answering(nn.Module):
    """A model that answers as its ONNX file does.

    Args:
        model: Answers raw scores by task, given a batch.
        heads: The tasks to answer.
        names: The batch's arrays, in the order of the call.
    """

    def __init__(self, model: nn.Module, heads: Sequence[Head], names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._heads = tuple(heads)
        self._names = tuple(names)

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Return the answers in the order of :func:`training.export.interface.outputs`."""
        batch = dict(zip(self._names, arrays, strict=True))
        scores = self.model(batch)
        return tuple(answer for head in self._heads for answer in _answers(scores[head.task], head, batch))


def _answers(scores: Tensor, head: Head, batch: Mapping[str, Tensor]) -> list[Tensor]:
    if head.kind is Kind.CLASSIFY:
        probabilities = torch.softmax(scores.float() / head.temperature, -1)
        return [probabilities, probabilities.argmax(-1, keepdim=True)]
    if head.kind is Kind.MULTILABEL:
        return [torch.sigmoid(scores.float() / head.temperature)]
    if head.kind is Kind.SPAN:
        absent = batch["attention_mask"][:, :, None] == 0
        shares = torch.softmax(scores.float().masked_fill(absent, torch.finfo(torch.float32).min), 1)
        return [shares[:, :, 0], shares[:, :, 1]]
    return [scores.float().reshape(-1, 1)]


def to_onnx(model: nn.Module, heads: Sequence[Head], batch: Mapping[str, Tensor]) -> bytes:
    """Return a model as an ONNX file.

    Args:
        model: Answers raw scores by task; it is left as it is.
        heads: The tasks to answer.
        batch: Some rows, at least two; its names become the inputs.

    Raises:
        TrainingError: If torch cannot turn it into a graph.
    """
    answering = Answering(_plain(model), heads, tuple(batch)).eval()
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens")
    shapes = tuple({0: rows, 1: tokens} if name in _TOKENS else {0: rows} for name in batch)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                answering,
                tuple(batch.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(batch),
                output_names=[output.name for output in outputs(heads)],
                dynamic_shapes={"arrays": shapes},
                external_data=False,
                verbose=False,
            )
    except Exception as error:
        cause = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise TrainingError(
            "export",
            f"torch cannot turn the model into a graph ({cause})",
            "use plain tensor operations in forward, without branches on values",
        ) from error
    return bytes(program.model_proto.SerializeToString())


def check_parity(
    model: nn.Module,
    heads: Sequence[Head],
    onnx: bytes,
    feed: Callable[[Array], Mapping[str, Tensor]],
    rows: Array,
    *,
    tolerance: float | None = None,
) -> float:
    """Prove that a file answers as the model does, and return by how much they differ at most.

    Args:
        model: The model in torch.
        heads: The tasks that the file answers.
        onnx: The file's content.
        feed: Makes a batch of rows.
        rows: Real rows; those of one batch differ in length.
        tolerance: How far any number may be from torch's; default :data:`PARITY`.

    Raises:
        TrainingError: If any number is further from it.
    """
    allowed = PARITY if tolerance is None else tolerance
    session = open_session(onnx)
    plain = _plain(model)
    worst, where = 0.0, ""
    for batch in (*(rows[i : i + 1] for i in range(min(4, len(rows)))), *_batches(rows, 16)):
        fed = feed(batch)
        answering = Answering(plain, heads, tuple(fed)).eval()
        with torch.no_grad():
            wanted = answering(*fed.values())
        got = answers(session, {name: array.numpy() for name, array in fed.items()})
        for output, want in zip(outputs(heads), wanted, strict=True):
            if output.part == "label":
                continue
            # a number of a thousand has three digits fewer behind its point
            scale = np.maximum(1.0, np.abs(want.numpy()))
            differs = np.abs(got[output.name] - want.numpy()) / scale
            # NaN is no agreement
            apart = float(np.where(np.isfinite(differs), differs, np.inf).max(initial=0.0))
            if apart > worst:
                worst, where = apart, output.name
    if worst > allowed:
        raise TrainingError(
            f"output {where!r}",
            f"the exported file differs from the trained model by {worst:.2g}, more than {allowed:g}",
            "export again; if it stays, find the layer that torch and ONNX read differently",
        )
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch has to say of its own parts, such as that torchvision is not there."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _batches(rows: Array, size: int) -> list[Array]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _plain(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in fp32, without dropout, whose attention is made of plain operations."""
    plain = copy.deepcopy(model).cpu().float().eval()
    for module in plain.modules():
        if hasattr(module, "set_attn_implementation"):
            module.set_attn_implementation("eager")
    return plain
