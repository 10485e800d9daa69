"""Reads a training's configuration: every complaint names file, line and path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protos.document import ConfigError, read
from training.config.schema import Config, variant

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protos.document import Document

__all__ = ["load"]


def load(path: Path) -> tuple[Config, Document]:
    """Read and validate a file.

    Returns:
        The configuration, with paths resolved against the file's folder, and its document.

    Raises:
        ConfigError: With every complaint of the first stage that fails.
    """
    document = read(path, keys="data and tasks")
    config = document.validated(Config, {"base": path.resolve().parent, "stem": path.stem})
    complaints = [document.complain(*each) for each in _contradictions(config)]
    if complaints:
        raise ConfigError(complaints)
    return config, document


def _contradictions(config: Config) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield where sections contradict each other, and why."""
    made = ["fp32", *map(variant, config.compress)]
    if config.export is not None:
        for i, name in enumerate(config.export.variants):
            if name not in made:
                yield ("export", "variants", i), f"{name!r} is no variant; there are {', '.join(made)}"
    for name, task in config.tasks.items():
        if task.kind == "span" and config.encoder.name in ("bag", "image", "tabular"):
            yield ("tasks", name, "kind"), f"a span needs an encoder of tokens, not {config.encoder.name}"
    lists = {task.query for task in config.tasks.values() if task.kind == "rank"}
    if len(lists) > 1:
        yield ("tasks",), "of kind rank must share one query: lists are drawn whole"
    if config.data.features and config.encoder.name not in ("image", "tabular"):
        yield ("encoder",), "reads text, but data gives features; use name: tabular"
    if config.train.balance.search and not config.encoder.cache:
        yield (
            ("train", "balance", "search"),
            "needs encoder.cache: without it each short run costs a long one",
        )
