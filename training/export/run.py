"""From a variant of a run to a model in a repository, if it is what its figures say.

What must hold, or nothing is written:

- *Parity*: the file is the one that was held against torch; the trained model itself is held against it
  again.
- *Invariance*: a row's answer is the same alone and among others, unless the configuration allows what is
  not. Then the card says so, and so does the config that the worker reads.
- *Names*: of the files as they were written, labels included, the figures on the test rows are those of the
  card, class by name. Swapped labels are found that way: nothing else tells which column is which class.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np

from training.compress.invariance import invariance
from training.compress.scores import feed_of, inputs_of, scores_by_task
from training.compress.variant import FP32, VARIANTS, read
from training.compress.variants import compress
from training.config import variant as variant_name
from training.data import Arrays, Pairs, Part, Texts
from training.errors import TrainingError
from training.evaluate.metrics import measure
from training.export.interface import outputs
from training.export.onnx import check_parity
from training.export.repository import MODEL, Package, label_file, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from training.compress.opened import Opened
    from training.compress.variant import Variant
    from training.config import Config
    from training.data import Dataset
    from training.models.model import Model

__all__ = ["check_names", "export", "export_all"]

Array = np.ndarray[Any, np.dtype[Any]]

_PARITY_ROWS = 96
#: What a tie that rounding decides may do to a figure; the answers themselves are the same.
_FIGURES = 1e-3
#: A model whose rows depend on each other answers a little differently each time that batches fall otherwise.
_FIGURES_DEPENDENT = 2e-2
_LIBRARIES = ("numpy", "onnx", "onnxruntime", "tokenizers", "torch", "transformers")


def export_all(
    run: Opened, *, repository: Path | None = None, name: str = "", variants: Sequence[str] = ()
) -> Iterator[tuple[str, Path]]:
    """Write variants of a run into a repository, and yield each with its version's folder.

    Args:
        run: The run.
        repository: The repository; default: as the configuration says.
        name: The model's name there, a variant's appended; default: the configuration's, else the run's.
        variants: Which; default: as the configuration says.

    Raises:
        TrainingError: At the first that is refused; those before it are written.
    """
    wanted = run.config.export
    if wanted is not None and "savedmodel" in wanted.formats:
        raise TrainingError(
            "export.formats",
            "savedmodel is not written by this version",
            "leave it out: a worker serves onnx",
        )
    place = repository or (None if wanted is None else wanted.repository)
    if place is None:
        raise TrainingError(
            str(run.folder), "names no repository", "say where: --repository, or export.repository"
        )
    made = [FP32, *map(variant_name, run.config.compress)]
    chosen = tuple(variants) or (wanted.variants if wanted is not None else ()) or tuple(made)
    if not (run.folder / VARIANTS / FP32).exists() and FP32 in chosen:
        compress(run.config.model_copy(update={"compress": ()}), run.dataset, run.model, run.folder)
    base = name or (wanted.name if wanted is not None and wanted.name else run.name)
    for variant in chosen:
        parts = [base, run.task, "" if variant == FP32 else variant]
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
    chosen = read(run, variant)
    feed = feed_of(model, dataset)
    rows = dataset.rows(Part.VALIDATION)
    allowed = config.export is not None and config.export.allow_batch_dependent
    if variant == FP32:
        tolerance = config.export.tolerance if config.export else None

        def batch(some: Array) -> dict[str, Any]:
            return inputs_of(model, dataset, some)

        check_parity(model, chosen.heads, chosen.onnx, batch, rows[:_PARITY_ROWS], tolerance=tolerance)
    found = invariance(chosen.onnx, feed, rows)
    if not found.same and not allowed:
        raise TrainingError(
            f"variant {variant!r}",
            f"a row's answer depends on the rows beside it: by up to {found.worst:.2g}, and of "
            f"{found.compared} answers {found.labels} have another largest class",
            "export a static variant, or say export: {allow_batch_dependent: true}",
        )
    metrics = chosen.facts["metrics"]["test"]
    tolerance = _FIGURES if found.same else _FIGURES_DEPENDENT
    package = Package(
        name=name,
        onnx=chosen.onnx,
        heads=chosen.heads,
        inputs=_inputs(dataset, feed(rows[:1])),
        max_rows=config.export.max_batch_size if config.export else 64,
        independent=found.same,
        tokenizer=_tokenizer(dataset, model),
        max_tokens=config.data.max_length if isinstance(dataset.inputs, Texts) else None,
        card=_card(config, dataset, chosen, asdict(found)),
    )

    def check(folder: Path, files: Path) -> None:
        check_names(folder, files, chosen, model, dataset, metrics=metrics, tolerance=tolerance)

    return write(repository, package, check)


def check_names(
    folder: Path,
    files: Path,
    variant: Variant,
    model: Model,
    dataset: Dataset,
    *,
    metrics: Mapping[str, Mapping[str, float | None]],
    tolerance: float = _FIGURES,
) -> None:
    """Prove that files answer the test rows as a card says, each class by the name in its label file.

    Args:
        folder: Holds the label files.
        files: Holds the model's.
        variant: Its tasks.
        model: Makes batches.
        dataset: Holds the test rows.
        metrics: By task, the card's.
        tolerance: How far any may be off.

    Raises:
        TrainingError: If they do not.
    """
    rows = dataset.rows(Part.TEST)
    scores = scores_by_task((files / MODEL).read_bytes(), variant.heads, model, dataset, rows)
    inputs = dataset.inputs
    contexts = [inputs.contexts[row] for row in rows.tolist()] if isinstance(inputs, Pairs) else None
    for output in outputs(variant.heads):
        task, labels = output.head.task, dataset.labels[output.head.task].take(rows)
        if output.part in ("label", "end"):
            continue
        found = scores[task]
        if name := label_file(output, variant.heads):
            names = (folder / name).read_text("utf-8").splitlines()
            if sorted(names) != sorted(labels.classes):
                raise TrainingError(
                    f"{name} of {output.name!r}",
                    f"names other classes ({', '.join(names)}) than the data ({', '.join(labels.classes)})",
                    "export again from the run; do not write label files by hand",
                )
            found = found[:, [names.index(each) for each in labels.classes]]
        for metric, value in measure(found, labels, contexts).items():
            wanted = metrics[task][metric]
            if wanted is not None and not abs(value - wanted) <= tolerance * max(1.0, abs(wanted)):
                raise TrainingError(
                    f"output {output.name!r}",
                    f"{metric} on the test rows is {value:.4f} with the names of its label file, "
                    f"the card says {wanted:.4f}",
                    "its labels are swapped, or the file is another one; export again from the run",
                )


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
    if config.encoder.name == "minilm-l6":
        return found | {"encoder": "Apache-2.0 (all-MiniLM-L6-v2)"}
    return found | {"encoder": "not stated" if config.encoder.name == "local" else "trained here"}
