"""A training's configuration: what is accepted, and that every complaint says where and what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from protos.document import ConfigError
from tests.unit.training.tables import configured
from training.config import CORPORA, Distil, Int8, load

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
data: {source: vader, split: {by: document, parts: [0.8, 0.1, 0.1], seed: 0}, max_length: 64}
encoder: {name: minilm-l6, freeze: 4, cache: true}
tasks:
  polarity:  {kind: classify, labels: [negative, neutral, positive], alpha: 1.0}
  intensity: {kind: regress, alpha: 0.5}
  domain:    {kind: classify, sample_weight: inverse_sqrt_size}
train: {mode: joint, epochs: 2, batch: 32, optimizer: {kind: adamw, lr: 1e-4, head_lr: 1e-3},
        warmup: 0.1, dropout: 0.1, precision: auto, mix: {temperature: 2}, balance: {kind: fixed, search: 8}}
compress: [{kind: int8, mode: static, max_loss_pt: 1.0}, {kind: distil, student: bag}]
export: {repository: models}
track: [tensorboard]
"""
SUFFIX = "whose suffix tells its format; say format: csv, jsonl, parquet or squad"
LEAST = "data: {source: vader}\ntasks: {polarity: {kind: classify}}\n"


def complaints(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(configured(folder, text))
    return [f"{c.line}: {c.path}: {c.problem}" for c in caught.value.complaints]


def test_a_whole_configuration_is_read(tmp_path: Path) -> None:
    """Numbers are numbers, single sources and columns become tuples, paths are beside the file."""
    config, _ = load(configured(tmp_path, GOOD))
    assert config.data.source[0].corpus == "vader"
    assert config.data.split.by == ("document",)
    assert type(config.train.optimizer.lr) is float
    assert config.train.optimizer.lr == 1e-4
    assert [type(step) for step in config.compress] == [Int8, Distil]
    assert config.export is not None
    assert config.export.repository == tmp_path / "models"
    assert config.out == tmp_path / "runs" / "training"


def test_the_defaults_train(tmp_path: Path) -> None:
    """A source and a task are enough."""
    config, _ = load(configured(tmp_path, LEAST))
    assert config.train.balance.kind == "fixed"
    assert config.export is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: {source: vader}\n", "1: tasks: is missing"),
        (LEAST + "trian: {}\n", "3: trian: unknown key; did you mean 'train'?"),
        (
            LEAST + "train: {epochs: 0}\n",
            "3: train.epochs: input should be greater than or equal to 1, not 0",
        ),
        (
            LEAST + "compress:\n  - {kind: int9}\n",
            "4: compress[0]: 'kind' must be one of 'int8', 'fp16', 'prune', 'distil', not 'int9'",
        ),
        (
            LEAST + "encoder: {freeze: -1}\n",
            "3: encoder.freeze: must be a number of layers, or a list of patterns, not -1",
        ),
        (LEAST + "encoder: {frm: run}\n", "3: encoder.frm: unknown key; did you mean 'from'?"),
        (LEAST + "track: wandb\n", "3: track: must be a list, not 'wandb'"),
        (LEAST + "compress: [int8]\n", "3: compress[0]: must be a mapping, not 'int8'"),
        (LEAST + "compress:\n  - {mode: static}\n", "4: compress[0]: needs 'kind'"),
        (
            LEAST + "compress:\n  - {kind: distil, studnt: bag, student: bag}\n",
            "4: compress[0].studnt: unknown key; did you mean 'student'?",
        ),
        (
            LEAST + "compress:\n  - {kind: fp16}\n  - {kind: fp16}\n",
            "3: compress: the variant 'fp16' is made twice; give one of the two a name:",
        ),
        (
            LEAST + "compress:\n  - {kind: int8, of: bag}\n",
            "3: compress: 'bag' is made by no step before; there are fp32",
        ),
        (
            LEAST + "export: {repository: m, variants: [int8]}\n",
            "3: export.variants[0]: 'int8' is no variant; there are fp32",
        ),
        (
            LEAST + "encoder: {cache: true}\n",
            "3: encoder: cache keeps what frozen layers say: freeze must be a number of at least 1",
        ),
        (
            LEAST + "train: {balance: {search: 4}}\n",
            "3: train.balance.search: needs encoder.cache: without it each short run costs a long one",
        ),
        (
            "data: {source: a.csv, split: {parts: [0.8, 0.1, 0.2]}}\ntasks: {t: {kind: regress}}\n",
            "1: data.split: parts must sum to 1, not 1.1",
        ),
        (
            "data:\n  source: {file: a.csv, part: dev}\ntasks: {t: {kind: regress}}\n",
            "2: data.source.part: must be 'train', 'validation' or 'test', not 'dev'",
        ),
        (
            "data: {source: vadr}\ntasks: {t: {kind: regress}}\n",
            f"1: data.source: 'vadr' is neither a corpus ({', '.join(CORPORA)}) nor a file {SUFFIX}",
        ),
        (
            "data: {source: vader}\ntasks: {t: {kind: regress, labels: [a, b]}}\n",
            "2: tasks.t: labels have no effect on regress",
        ),
        (
            "data: {source: vader}\ntasks: {t: {kind: classify, labels: [a, 'b ']}}\n",
            "2: tasks.t: labels has 'b ': a name is one line without blanks around it",
        ),
        (
            "data: {source: vader}\ntasks: {t: {kind: multilabel, labels: [a, b|c]}}\n",
            "2: tasks.t: labels has 'b|c', which holds the separator '|'",
        ),
        (
            "data: {source: vader}\ntasks: {t: {kind: multilabel, columns: [a, a]}}\n",
            "2: tasks.t: columns name a class twice",
        ),
        (
            "data: {source: [vader, digits, vader]}\ntasks: {t: {kind: regress}}\n",
            "1: data: source names vader twice: its rows would count double",
        ),
        (
            "data: {source: vader}\ntasks: {'1 t': {kind: regress}}\n",
            "2: tasks.1 t: '1 t' is not a valid name: use letters, digits, '-._'",
        ),
        (
            "data: {source: digits}\nencoder: {name: image}\ntasks: {t: {kind: span}}\n",
            "3: tasks.t.kind: a span needs an encoder of tokens, not image",
        ),
    ],
)
def test_a_complaint_names_line_path_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    """Also inside lists of alternatives, whose tags and indices stand in no file."""
    assert complaints(tmp_path, text) == [expected]


def test_all_complaints_come_at_once(tmp_path: Path) -> None:
    """One reading, every slip of the schema."""
    text = "data: {source: vader, lenght: 3}\ntasks: {t: {kind: classfy}}\ntrain: {batch: many}\n"
    assert [c.split(":", 1)[0] for c in complaints(tmp_path, text)] == ["1", "2", "3"]
