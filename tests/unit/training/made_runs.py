"""Made-up run folders in the shape that training leaves them, for tests. Nothing here was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from training.config import load as load_config
from training.data.dataset import Kind, Part
from training.data.load import load as load_data
from training.run import CARD, HISTORY, METRICS, as_json, write_config, write_predictions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.config import Config
    from training.data.dataset import Dataset

__all__ = ["TASKS", "Made", "make_run", "make_runs"]

GOOD, BAD, PLAIN = "good great lovely fine", "bad awful poor broken", "the a box came with it today and then"
TASKS = """
  polarity: {kind: classify, labels: [negative, neutral, positive]}
  intensity: {kind: regress, alpha: 0.5}
  domain: {kind: classify, labels: [film, shop]}
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What was made.

    Args:
        config: The configuration.
        joint: Folders of one model for all tasks, one for each seed.
        individual: The folder of a model for each task.
    """

    config: Path
    joint: tuple[Path, ...]
    individual: Path


def make_runs(folder: Path, *, rows: int = 400, seeds: Sequence[int] = (0,), tasks: str = TASKS) -> Made:
    """Write a table, a configuration, and runs whose scores know a part of the truth."""
    _write_table(folder / "rows.csv", rows)
    for mode in ("joint", "individual"):
        (folder / f"{mode}.yaml").write_text(
            f"data: {{source: rows.csv, split: {{by: document, parts: [0.5, 0.25, 0.25]}}}}\n"
            f"encoder: {{name: bag}}\ntasks:{tasks}train: {{mode: {mode}, epochs: 4}}\nout: runs/{mode}\n",
            "utf-8",
        )
    config, _ = load_config(folder / "joint.yaml")
    dataset = load_data(config)
    joint = []
    for seed in seeds:
        place = folder / "runs" / (f"joint-{seed}" if len(seeds) > 1 else "joint")
        seeded = config.model_copy(
            update={"out": place, "train": config.train.model_copy(update={"seed": seed})}
        )
        _write_run(place, seeded, dataset, noise=1.0, seed=seed)
        joint.append(place)
    _write_variants(joint[0], dataset)
    alone, _ = load_config(folder / "individual.yaml")
    _write_run(alone.out, alone, dataset, noise=0.95, seed=7, parts=tuple(dataset.labels))
    return Made(folder / "joint.yaml", tuple(joint), alone.out)


def make_run(place: Path, config: Config, dataset: Dataset) -> None:
    """Write a run of a joint model, and its variants."""
    _write_run(place, config, dataset, noise=1.0, seed=1)
    _write_variants(place, dataset)


def _write_table(path: Path, rows: int) -> None:
    generator = np.random.default_rng(1)
    lines = ["text,polarity,intensity,domain,document"]
    for row in range(rows):
        mood = generator.normal()
        words = PLAIN if abs(mood) < 0.5 else GOOD if mood > 0 else BAD
        shop = generator.random() < 0.4
        said = [
            *generator.choice(words.split(), 3),
            *generator.choice(PLAIN.split(), 3),
            "screen" if not shop else "price",
        ]
        polarity = "neutral" if abs(mood) < 0.5 else "positive" if mood > 0 else "negative"
        if generator.random() < 0.15:
            said[:3] = generator.choice(PLAIN.split(), 3)
        # a few rows are unlabelled
        cell = "" if row % 20 == 3 else polarity
        lines.append(f"{' '.join(said)} {row},{cell},{mood:.2f},{'shop' if shop else 'film'},{row // 3}")
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _scores(dataset: Dataset, rows: Any, *, noise: float, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    scores: dict[str, Any] = {}
    for task, labels in dataset.labels.items():
        values = labels.values[rows]
        if labels.kind is Kind.CLASSIFY:
            classes = np.eye(len(labels.classes))[values]
            # twice as sure as it should be
            scores[task] = (2 * (1.4 * classes + noise * generator.normal(size=classes.shape))).astype(
                np.float32
            )
        else:
            scores[task] = (values + 0.6 * noise * generator.normal(size=len(rows))).astype(np.float32)
    return scores


def _write_run(
    place: Path, config: Config, dataset: Dataset, *, noise: float, seed: int, parts: tuple[str, ...] = ()
) -> None:
    place.mkdir(parents=True)
    rows = np.concatenate([dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)])
    write_config(place, config.model_copy(update={"out": place}))
    write_predictions(place, rows, _scores(dataset, rows, noise=noise, seed=seed))
    (place / CARD).write_text(
        as_json({"data": dict(dataset.card)} | ({"parts": parts} if parts else {})), "utf-8"
    )
    (place / METRICS).write_text(as_json({"metrics": {}} | ({"parts": parts} if parts else {})), "utf-8")
    for task in parts:
        part = place / task
        part.mkdir()
        _write_history(part, (task,), seed)
        (part / METRICS).write_text(as_json({"metrics": {}}), "utf-8")
    if not parts:
        _write_history(place, tuple(dataset.labels), seed)


def _write_history(place: Path, tasks: tuple[str, ...], seed: int) -> None:
    generator = np.random.default_rng(seed)
    with (place / HISTORY).open("w", encoding="utf-8") as file:
        for step in range(3, 601, 3):
            left = np.exp(-step / 200)
            losses = {task: 0.6 + 0.5 * left + 0.1 * generator.normal() for task in tasks}
            weights = {task: 1 / len(tasks) + 0.1 * i * (1 - left) for i, task in enumerate(tasks)}
            pairs = [(a, b) for i, a in enumerate(tasks) for b in tasks[i + 1 :]]
            cosines = {f"{a}, {b}": 0.2 * generator.normal() + 0.1 for a, b in pairs}
            line: dict[str, Any] = {"step": step, "losses": losses, "weights": weights, "cosines": cosines}
            file.write(json.dumps(line) + "\n")
            if step % 75 == 0:
                looked = {task: 0.68 + 0.45 * left + 0.01 * generator.normal() for task in tasks}
                file.write(json.dumps({"step": step, "validation": looked}) + "\n")


def _write_variants(run: Path, dataset: Dataset) -> None:
    rows = np.concatenate([dataset.rows(Part.VALIDATION), dataset.rows(Part.TEST)])
    for name, kind, size, alone_ms, batch_ms, same, noise in (
        ("fp32", "", 91e6, 7.8, 5.6, True, 1.0),
        ("int8", "int8", 34e6, 4.3, 4.1, True, 1.02),
        ("int8-dynamic", "int8", 23e6, 2.7, 2.8, False, 1.05),
        ("cnn", "distil", 16e6, 0.15, 0.11, True, 1.15),
        ("bag", "distil", 25e6, 0.033, 0.008, True, 1.25),
    ):
        place = run / "variants" / name
        place.mkdir(parents=True)
        # like its teacher on most rows
        scores = {
            task: each
            + (noise - 1) * 6 * np.random.default_rng(len(name)).normal(size=each.shape).astype(np.float32)
            for task, each in _scores(dataset, rows, noise=1.0, seed=0).items()
        }
        write_predictions(place, rows, scores)
        facts = {
            "name": name, "made_by": {"kind": kind} if kind else {}, "bytes": int(size), "ms_1": alone_ms,
            "ms_8": batch_ms, "invariance": {"same": same},
        }  # fmt: skip
        (place / "variant.json").write_text(json.dumps(facts), "utf-8")
