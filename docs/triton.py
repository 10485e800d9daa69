"""The page for those who come from Triton: an example that is really translated, and the table of fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import text_format

from accord.importing.document import write
from accord.importing.fields import FIELDS, Fate
from accord.importing.repository import declared
from accord.importing.translate import translate
from accord.importing.values import BrokenGraphs, Found
from protos.oip import model_config

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["page"]

_PAGE = """# Moving from Triton

Generated from `accord/importing` by `make docs`.

One command turns a Triton repository, `platform: "ensemble"` graphs included, into a configuration that
`accord check` accepts and `accord serve` serves. The repository stays as it is; models are hosted from where they lie.

```sh
accord import triton build/models --out build/imported.yaml --force
accord check build/imported.yaml
```

| option | effect |
|---|---|
| `--out FILE` | Write there, with paths relative to it; without, to standard output. |
| `--force` | Overwrite the file. |
| `--triton HOST:PORT` | A Triton that serves the same repository: what cannot be hosted or said here is asked there. |
| `--json` | The configuration and all notes as JSON. |

## An example

An ensemble of three steps, whose embedding is both returned and read on, and whose last model is no ONNX model:

```pbtxt
{config}
```

`accord import triton models --triton 10.0.0.7:8001` writes:

```yaml
{written}
```

Each step is a [member](graphs.md), each tensor between steps an edge, and what the ensemble returns stands in `outputs`. The same
notes come as a table on screen, and as `notes` by `--json`:

| model | field | what it means | what to do |
|---|---|---|---|
{notes}

Without `--triton` the model `rank` and the ensemble are left out, which is a note as well.

## Is it the same?

`tests/interop/test_import_triton.py` serves one repository by the real Triton 2.51, by `accord serve` on what this command wrote, and by
a gateway whose models stay at that Triton: a fan-out with a mean, a chain of three, a branch, a nested ensemble, a model used twice, a
pinned version, strings, NaN, an optional input, an ensemble that does not batch. The answers are equal tensor by tensor and bit for
bit, for one row and several, for all outputs and for every selection of them. Random graphs are held to Triton's meaning by
`tests/property/test_import_triton.py`. What differs:

- Triton 2.51 fails with *unexpected deadlock* when some outputs are asked for and one that other steps read is not, or is the only one. Here
  the step runs, and the answer is that part of the whole one.
- A call has a deadline, 30 s where nobody sets one (`server.deadline_s`).
- Errors are [ours](errors.md): a reason, and which member failed with what.
- Requests of several callers share the batches of a whole ensemble where their models' rows are independent; Triton batches model
  by model.
- `sequence_id` and its kin are refused.

## Fields of an ensemble

A field of a model means what [config.pbtxt](config-pbtxt.md) says, because a worker reads the same file; those without effect are
noted, and a model that a worker refuses is asked at `--triton` or left out. Of an ensemble:

| field | becomes |
|---|---|
{carried}

These are lost and named; answers stay the same:

| field | what it means | what to do |
|---|---|---|
{lost}

These leave the ensemble out, or have it asked as a whole at `--triton`:

| field | why | what to do |
|---|---|---|
{stops}

So do models of which some batch and some do not, an output that is an input of the ensemble at the same time, more than 64 steps, an
optional input of a model that a step does not map but the ensemble has by that name, and what Accord cannot compile, with its words. A model
that answers any number of times (`decoupled`) or keeps sequences cannot be asked at `--triton` either, nor can its ensembles.

## Broken graphs

What Triton would not load is refused, and nothing is written. Every fault names the ensemble and its edge:

```text
{broken}
```
"""

_MODEL = """max_batch_size: 8
input [{{name: "{0}" data_type: TYPE_FP32 dims: [{1}]}}]
output [{{name: "{2}" data_type: TYPE_FP32 dims: [{3}]}}]
"""
_ENSEMBLE = """name: "search"
platform: "ensemble"
max_batch_size: 4
input [{name: "PIXELS" data_type: TYPE_FP32 dims: [64]}]
output [
  {name: "EMBEDDING" data_type: TYPE_FP32 dims: [16]},
  {name: "RANKS" data_type: TYPE_FP32 dims: [3]}
]
response_cache {enable: true}
ensemble_scheduling {
  step [
    {model_name: "encoder" model_version: -1
     input_map {key: "x" value: "PIXELS"} output_map {key: "embedding" value: "EMBEDDING"}},
    {model_name: "head" model_version: 2
     input_map {key: "features" value: "EMBEDDING"} output_map {key: "scores" value: "raw"}},
    {model_name: "rank" model_version: -1
     input_map {key: "scores" value: "raw"} output_map {key: "ranks" value: "RANKS"}}
  ]
}"""
_MODELS = {
    "encoder": ("x", 64, "embedding", 16),
    "head": ("features", 16, "scores", 3),
    "rank": ("scores", 3, "ranks", 3),
}
_DAMAGES = (('value: "raw"} output_map', 'value: "row"} output_map'), ("dims: [3]", "dims: [5]"))


def page() -> str:
    """Return the page's text."""
    imported = translate(_repository(_ENSEMBLE), folder="models", triton="10.0.0.7:8001")
    return _PAGE.format(
        config=_ENSEMBLE,
        written=write(imported, "models").strip(),
        notes="\n".join(f"| `{n.model}` | `{n.field}` | {n.meaning} | {n.remedy} |" for n in imported.notes),
        carried="\n".join(_rows(Fate.CARRIED)),
        lost="\n".join(_rows(Fate.LOST)),
        stops="\n".join(_rows(Fate.STOPS)),
        broken="\n".join(_refusals()),
    )


def _repository(ensemble: str) -> dict[str, Found]:
    texts = {name: _MODEL.format(*tensors) for name, tensors in _MODELS.items()} | {"search": ensemble}
    repository = {}
    for name, text in texts.items():
        config = text_format.Parse(text, model_config.ModelConfig())
        unfit = "a worker runs ONNX models only, and this one's backend is 'python'" if name == "rank" else ""
        versions = ("1", "2") if name == "head" else ("1",)
        spec = declared(config, versions[-1])
        repository[name] = Found(name=name, config=config, versions=versions, spec=spec, unfit=unfit)
    return repository


def _rows(fate: Fate) -> Iterator[str]:
    for path, field in FIELDS.items():
        if field.fate is fate:
            yield f"| `{path}` | {field.text} |" + (f" {field.remedy} |" if field.remedy else "")


def _refusals() -> Iterator[str]:
    for right, wrong in _DAMAGES:
        try:
            translate(_repository(_ENSEMBLE.replace(right, wrong)), folder="models")
        except BrokenGraphs as refused:
            yield from (f"error: {fault}" for fault in refused.faults)
