"""From a variant of a run to a model in a repository, if it is what its figures say.

What must hold is in :mod:`training.export.checks`; if it does not, nothing is written.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.scores import feed_of
from training.compress.variant import FP32, VARIANTS, read
from training.compress.variants import compress
from training.config import load
from training.config import variant as variant_name
from training.data import Arrays, Part, Texts
from training.errors import TrainingError
from training.export.checks import FIGURES, FIGURES_DEPENDENT, check_model, check_names, check_rows
from training.export.repository import Package, write
from training.run import CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from training.compress.opened import Opened
    from training.compress.variant import Variant
    from training.config import Config, Encoder
    from training.data import Dataset
    from training.models.model import Model
    from training.progress import Progress

__all__ = ["export", "export_all", "licence_of"]

Array = np.ndarray[Any, np.dtype[Any]]

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "tokenizers", "torch", "transformers")


def export_all(
    run: Opened,
    *,
    repository: Path | None = None,
    name: str = "",
    variants: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Iterator[tuple[str, Path]]:
    """Write variants of a run into a repository, and yield each with its version's folder.

    Args:
        run: The run.
        repository: The repository; default: as the configuration says.
        name: The model's name there, a variant's appended; default: the configuration's, else the run's.
        variants: Which; default: as the configuration says.
        tell: Told what is being done.
        report: Told how far a long step is.

    Raises:
        TrainingError: At the first that is refused; those before it are written.
    """
    wanted = run.config.export
    place = repository or (None if wanted is None else wanted.repository)
    if place is None:
        raise TrainingError(
            str(run.folder), "names no repository", "say where: --repository, or export.repository"
        )
    made = [FP32, *map(variant_name, run.config.compress)]
    chosen = tuple(variants) or (wanted.variants if wanted is not None else ()) or tuple(made)
    if not (run.folder / VARIANTS / FP32).exists() and FP32 in chosen:
        alone = run.config.model_copy(update={"compress": ()})
        compress(alone, run.dataset, run.model, run.folder, tell=tell, report=report)
    base = name or (wanted.name if wanted is not None and wanted.name else run.name)
    for variant in chosen:
        parts = [base, run.task, "" if variant == FP32 else variant]
        tell(f"{variant}: checking and writing it")
        yield (
            variant,
            export(
                run.config,
                run.dataset,
                run.model,
                run.folder,
                variant,
                repository=place,
                name="-".join(part for part in parts if part),
            ),
        )


def export(
    config: Config,
    dataset: Dataset,
    model: Model,
    run: Path,
    variant: str,
    *,
    repository: Path,
    name: str,
) -> Path:
    """Write a variant into a repository as the next version of a model, and return that version's folder.

    Args:
        config: Its ``export`` says what is allowed.
        dataset: The rows that the model was trained on.
        model: The trained model.
        run: The run's folder, which holds the variant.
        variant: Which.
        repository: The repository; made if need be.
        name: The model's name there.

    Raises:
        TrainingError: If any check fails, or it cannot be written; the repository is then as it was.
    """
    chosen, wanted = read(run, variant), config.export
    check_model(chosen, model, dataset, tolerance=wanted.tolerance if wanted else None)
    allowed = wanted is not None and wanted.allow_batch_dependent
    found = check_rows(chosen, model, dataset, allowed=allowed)
    tolerance = FIGURES if found.same else FIGURES_DEPENDENT
    package = Package(
        name=name,
        onnx=chosen.onnx,
        heads=chosen.heads,
        inputs=_inputs(dataset, feed_of(model, dataset)(dataset.rows(Part.VALIDATION)[:1])),
        max_rows=wanted.max_batch_size if wanted else 64,
        independent=found.same,
        tokenizer=_tokenizer(dataset, model),
        # an encoder from another run keeps its own
        max_tokens=model.encoder.max_length if isinstance(dataset.inputs, Texts) else None,
        card=_card(config, dataset, chosen, asdict(found)),
    )

    def check(folder: Path, files: Path) -> None:
        check_names(
            folder, files, chosen, model, dataset, metrics=chosen.facts["metrics"], tolerance=tolerance
        )

    return write(repository, package, check)


def _inputs(dataset: Dataset, fed: Mapping[str, Array]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return what a server's clients give, by name."""
    if isinstance(dataset.inputs, Texts):
        return {"text": ("TYPE_STRING", (1,))}
    kinds = {"f": "TYPE_FP32", "i": "TYPE_INT64", "b": "TYPE_BOOL"}
    is_open = not isinstance(dataset.inputs, Arrays)
    return {
        name: (kinds[array.dtype.kind], (-1,) if is_open else tuple(array.shape[1:]))
        for name, array in fed.items()
    }


def _tokenizer(dataset: Dataset, model: Model) -> bytes | None:
    if not isinstance(dataset.inputs, Texts):
        return None
    content: str = model.encoder.tokenizer.to_str()
    return content.encode()


def _card(
    config: Config, dataset: Dataset, variant: Variant, invariance: Mapping[str, Any]
) -> dict[str, Any]:
    facts = variant.facts
    tasks = {
        head.task: {
            "kind": head.kind.value,
            "classes": list(head.classes),
            "temperature": head.temperature,
            "metrics": {part: facts["metrics"][part][head.task] for part in ("validation", "test")},
        }
        for head in variant.heads
    }
    made = {key: facts[key] for key in ("parity", "nodes", "nodes_fp32", "lost_pt") if key in facts}
    return {
        "variant": variant.name,
        "made_by": facts["made_by"],
        **made,
        "tasks": tasks,
        "latency": {"ms_1": facts["ms_1"], "ms_8": facts["ms_8"], "of": "CPU of one core, a row"},
        "invariance": dict(invariance),
        "data": dict(dataset.card),
        "licence": _licences(config, dataset),
        "libraries": {"python": python_version(), **{name: version(name) for name in _LIBRARIES}},
    }


def _licences(config: Config, dataset: Dataset) -> dict[str, Any]:
    sources = dataset.card.get("sources", ())
    found = {"data": sorted({str(source.get("licence", "not stated")) for source in sources})}
    return found | {"encoder": licence_of(config.encoder)}


def licence_of(encoder: Encoder) -> str:
    """Return under which terms an encoder's weights may be used; of one from a run, those of that run's."""
    if encoder.from_ is not None:
        there = encoder.from_ / CONFIG
        return licence_of(load(there)[0].encoder) if there.exists() else "not stated"
    known = {"minilm-l6": "Apache-2.0 (all-MiniLM-L6-v2)", "local": "not stated"}
    return known.get(encoder.name, "trained here")
