"""What decides a run's weights: nobody goes on from, or is handed, the run of something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from training.config import Config
from training.errors import TrainingError
from training.run import CARD, CHECKPOINT, CONFIG, Run, is_finished

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from training.data import Dataset

__all__ = ["compare", "fingerprint", "refuse_other"]

#: Keys that may change between a run's beginning and its end.
_FREE = ("train.threads", "train.checkpoint_every")


def fingerprint(config: Config) -> dict[str, str]:
    """Return the keys of a configuration that decide the weights, with their values; the data stand apart.

    Example:
        >>> given = {"data": {"source": "digits"}, "tasks": {"digit": {"kind": "classify"}}}
        >>> found = fingerprint(Config.model_validate(given))
        >>> found["train.optimizer.lr"], "train.threads" in found
        ('0.0001', False)
    """
    decides = config.model_dump(mode="json", by_alias=True, include={"encoder", "tasks", "train"})
    found = dict(_flat(decides, ""))
    return {key: value for key, value in found.items() if key not in _FREE} | {
        "data.max_length": str(config.data.max_length)
    }


def compare(path: Path, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse what is of another run.

    Args:
        path: What is compared.
        there: What decided it.
        here: What is to decide it.

    Raises:
        TrainingError: If they differ; it names all in which they do.
    """
    differ = sorted(name for name in {*here, *there} if here.get(name) != there.get(name))
    if differ:
        raise TrainingError(
            str(path),
            f"is of another run: it differs in {', '.join(differ)}",
            "give the run its configuration and data back, or another folder by --out",
        )


def refuse_other(folder: Path, config: Config, dataset: Dataset) -> None:
    """Refuse to go on in a folder that holds something of another run.

    Args:
        folder: One that nothing came of yet may become any run's.
        config: The configuration now.
        dataset: The rows now.

    Raises:
        TrainingError: If it does, or if its files cannot be read.
    """
    finished, path = is_finished(folder), folder / CONFIG
    if not finished and not (path.exists() and _begun(folder)):
        return
    compare(path, fingerprint(_read(path)), fingerprint(config))
    if finished:
        compare(folder / CARD, _of_card(Run.read(folder).card["data"]), _of_card(dataset.card))


def _begun(folder: Path) -> bool:
    """Tell whether a checkpoint or a model is there: of the run, or of one of its individual models."""
    return any(is_finished(each) or (each / CHECKPOINT).exists() for each in (folder, *folder.iterdir()))


def _read(path: Path) -> Config:
    try:
        # without a base: paths are compared as they were written
        return Config.model_validate(YAML(typ="safe").load(path.read_text("utf-8")))
    except (OSError, YAMLError, ValidationError) as error:
        why = str(error).splitlines()[0]
        raise TrainingError(str(path), f"cannot be read ({why})", "name another folder by --out") from None


def _of_card(card: Mapping[str, Any]) -> dict[str, str]:
    prints = {f"data ({what})": str(value) for what, value in card.get("fingerprints", {}).items()}
    return prints | {"data (domains)": str(card.get("domains"))}


def _flat(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    for key, each in value.items():
        name = f"{path}.{key}" if path else key
        if isinstance(each, dict):
            yield from _flat(each, name)
        else:
            yield name, str(each)
