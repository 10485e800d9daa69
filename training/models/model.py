"""A model: one encoder, a head for each task; made from a configuration, or read from a run."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from training.data import Kind, Pairs, Part, Texts, minilm
from training.errors import TrainingError
from training.models.arrays import ImageEncoder, TabularEncoder
from training.models.bag import BagEncoder
from training.models.freeze import freeze
from training.models.heads import Answer, Heads
from training.models.text import TextEncoder, read_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from training.config import Config
    from training.data import Dataset

__all__ = ["ABOUT", "TOKENIZER", "WEIGHTS", "Model", "answers", "build", "described", "restore"]

#: Files of a run that a model is read from.
ABOUT, TOKENIZER, WEIGHTS = "model.json", "tokenizer.json", "model.safetensors"

_ARRAYS: Mapping[str, Any] = {"image": ImageEncoder, "tabular": TabularEncoder}


class Model(nn.Module):
    """An encoder and a head for each task.

    Args:
        encoder: What all tasks share.
        answers: What each task's head answers.
        dropout: Share of the encoder's answer that heads drop in training.
    """

    def __init__(self, encoder: Any, answers: Mapping[str, Answer], dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.answers = dict(answers)
        self.heads = Heads(answers, encoder.width, dropout)
        self._feed: tuple[Any, Any] | None = None

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return each task's raw scores: of classes [b, k], of numbers and ranks [b], of spans [b, t, 2]."""
        scores: dict[str, Tensor] = self.heads(self.encoder(batch), batch.get("context"))
        return scores

    def feed(self, dataset: Dataset) -> Any:
        """Return what makes batches of a data set; the last one is kept."""
        if self._feed is None or self._feed[0] is not dataset:
            self._feed = dataset, self.encoder.feed(dataset)
        return self._feed[1]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy takes along: the rows of a data set are no part of the model."""
        return vars(self) | {"_feed": None}

    def collate(self, dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return a batch of rows."""
        batch: dict[str, Tensor] = self.feed(dataset).collate(rows)
        return batch

    def describe(self) -> dict[str, Any]:
        """Return what the model is, but for its weights, fit for JSON."""
        tasks = {
            task: {"kind": each.kind.value, "classes": list(each.classes)}
            for task, each in self.answers.items()
        }
        return {"encoder": self.encoder.describe(), "tasks": tasks}


def answers(dataset: Dataset) -> dict[str, Answer]:
    """Return what the heads for a data set's tasks answer."""
    return {task: Answer(labels.kind, labels.classes) for task, labels in dataset.labels.items()}


def build(config: Config, dataset: Dataset) -> Model:
    """Make the model that a configuration asks for; its random weights follow torch's generator.

    Raises:
        TrainingError: If the encoder cannot be had, or does not fit the rows or the tasks.
    """
    dropout = config.train.dropout
    model = Model(_encoder(config, dataset, dropout), answers(dataset), dropout)
    model.feed(dataset)  # what cannot be read is said before anything is done
    freeze(model, config.encoder.freeze)
    return model


def described(about: Mapping[str, Any], tokenizer: Tokenizer | None, *, dropout: float = 0.0) -> Model:
    """Make a model with random weights as :meth:`Model.describe` said."""
    encoder = _described_encoder(about["encoder"], tokenizer, dropout)
    found = {
        task: Answer(Kind(each["kind"]), tuple(each["classes"])) for task, each in about["tasks"].items()
    }
    return Model(encoder, found, dropout)


def restore(run: Path, *, dropout: float = 0.0) -> Model:
    """Read the model of a run.

    Raises:
        TrainingError: If the folder does not hold one.
    """
    about, tokenizer, weights = _read(run)
    with _fitting(run):
        model = described(about, tokenizer, dropout=dropout)
        model.load_state_dict(weights)
    model.eval()
    return model


def _encoder(config: Config, dataset: Dataset, dropout: float) -> Any:
    wanted, longest = config.encoder, config.data.max_length
    if wanted.from_ is not None:
        about, tokenizer, weights = _read(wanted.from_)
        begin = "encoder."
        with _fitting(wanted.from_):
            encoder = _described_encoder(about["encoder"], tokenizer, dropout)
            encoder.load_state_dict(
                {k.removeprefix(begin): v for k, v in weights.items() if k.startswith(begin)}
            )
        return encoder
    if wanted.name in _ARRAYS:
        return _ARRAYS[wanted.name].for_dataset(
            dataset, layers=wanted.layers, width=wanted.width, dropout=dropout
        )
    if wanted.name == "minilm-l6":
        folder = minilm.unpacked(config.data.downloads)
        return TextEncoder.pretrained(folder, max_length=longest, dropout=dropout)
    if wanted.name == "local" and wanted.path is not None:
        return TextEncoder.pretrained(wanted.path, max_length=longest, dropout=dropout)
    if wanted.path is not None:
        tokenizer = read_tokenizer(wanted.path / TOKENIZER)
    else:
        tokenizer = _tokenizer(dataset, wanted.vocabulary)
    if wanted.name == "bag":
        return BagEncoder(tokenizer, width=wanted.width, max_length=longest, dropout=dropout)
    return TextEncoder.blank(
        tokenizer, layers=wanted.layers, width=wanted.width, max_length=longest, dropout=dropout
    )


def _described_encoder(about: Mapping[str, Any], tokenizer: Tokenizer | None, dropout: float) -> Any:
    if about["kind"] in _ARRAYS:
        return _ARRAYS[about["kind"]].described(about, dropout=dropout)
    kind: Any = BagEncoder if about["kind"] == BagEncoder.kind else TextEncoder
    return kind.described(about, tokenizer, dropout=dropout)


def _read(run: Path) -> tuple[dict[str, Any], Tokenizer | None, dict[str, Tensor]]:
    try:
        about = json.loads((run / ABOUT).read_text("utf-8"))
        weights = load_file(run / WEIGHTS)
        reads_text = about["encoder"]["kind"] not in _ARRAYS
    except FileNotFoundError as error:
        raise _unfit(run, f"{error.filename or WEIGHTS} is missing") from None
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise _unfit(run, str(error)) from None
    return about, read_tokenizer(run / TOKENIZER) if reads_text else None, weights


@contextmanager
def _fitting(run: Path) -> Iterator[None]:
    """Refuse files that are each readable, but do not make a model together."""
    try:
        yield
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _unfit(run, str(error).partition("\n")[0]) from None


def _unfit(run: Path, problem: str) -> TrainingError:
    return TrainingError(
        str(run), f"is no finished run ({problem})", "train it to its end, or name another folder"
    )


def _tokenizer(dataset: Dataset, size: int) -> Tokenizer:
    """Return a tokenizer of the training rows' commonest words."""
    inputs = dataset.inputs
    if not isinstance(inputs, Texts | Pairs):
        raise TrainingError("encoder.name", "reads text, and the rows are numbers", "use image or tabular")
    columns = [inputs.texts] if isinstance(inputs, Texts) else [inputs.questions, inputs.contexts]
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordLevelTrainer(
        vocab_size=size, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    rows = dataset.rows(Part.TRAIN)
    tokenizer.train_from_iterator((column[row] for column in columns for row in rows), trainer)
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    return tokenizer
