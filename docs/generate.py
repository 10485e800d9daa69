"""Writes the reference pages of ``docs`` from the source; with ``--check`` only compares.

Run it as ``make docs``; ``make check`` fails when the pages differ from what the source says.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from docs import conformance, plans, triton
from gateway.config import Config
from protos.errors import Cause, Reason
from training.config import Config as Training
from workers.model.fields import FIELDS, Effect
from workers.model.runtime import options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent

ERRORS = """# Errors

Generated from `protos/errors.py` by `make docs`.

Every failed call carries exactly one *reason*. On the wire it is a canonical gRPC status whose
`grpc-status-details-bin` trailer holds a `google.rpc.Status` with these details:

| detail | when | holds |
|---|---|---|
| `google.rpc.ErrorInfo` | always | `reason` (a name of the table below), `domain` = `accord`, `metadata` (`model`, `quorum`, ...) |
| `google.rpc.BadRequest` | the request is at fault | the field, e.g. `inputs[0].shape` |
| `google.rpc.RetryInfo` | a retry can help | how long to wait first |
| `accord.v1.MemberError` | a member failed | seat, model, outcome, cause, reason, attempts; one for each |

An answer that lacks an optional member is no error: it is OK, says `accord_degraded` and names who is missing.
What gRPC itself refuses (a message above 64 MiB, an unknown method, malformed HTTP/2) carries no reason.

## Reasons

| no. | reason | gRPC status | retry? | meaning | what to do |
|---|---|---|---|---|---|
{reasons}

## Causes

What a `MemberError` says of one seat, and the reason it maps to when that seat decides.

| no. | cause | meaning | reason |
|---|---|---|---|
{causes}

## Who decides

When too few members are usable: a failed `required` seat decides. Otherwise, if the retryable failures, counted as
successes, would reach the quorum, the reason is QUORUM_NOT_MET; if not, the worst failure that is not retryable.
Worst means first in this order: INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION,
RESOURCE_EXHAUSTED, UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL.
"""

CONFIG = """# Configuration

Generated from `gateway/config/schema.py` by `make docs`. `accord schema` prints the same as JSON Schema for editors.

One YAML file describes a gateway. Unknown keys, double keys, missing models, cycles and members whose outputs cannot
be merged are refused, each with file, line and path; `accord check FILE` proves it before anything is served.
Environment variables `ACCORD_SERVER__<KEY>` override keys of `server`, e.g. `ACCORD_SERVER__ADDRESS=0.0.0.0:8001`.

```yaml
server: {{address: "127.0.0.1:8001", metrics: "127.0.0.1:8002"}}
models:
  digits-svm: {{worker: {{repository: models, instances: 2}}}}     # paths are relative to this file
  digits-forest: {{worker: {{repository: models}}, expose: false}} # a member only
  topic: {{oip: {{targets: ["10.0.0.7:8001"], model: topic_v2}}}}  # Triton or any OIP server
ensembles:
  digits:
    strategy: {{kind: soft_vote, output: probabilities}}
    quorum: 2
    deadline_s: 0.5
    overrides: [members, quorum]
    members:
      - {{model: digits-svm, weight: 2.0}}
      - {{model: digits-forest, timeout_s: 0.2}}
  review:
    strategy: {{kind: tasks}}
    members: [{{model: topic}}, {{ensemble: digits, name: page}}]
```

{sections}
"""

TRAINING = """# Configuration of a training

Generated from `training/config` by `make docs`.

One YAML file describes a training, from data to model repository. Unknown keys, double keys and sections that contradict
each other are refused with file, line and path. Ready-made ones: [examples/training](../examples/training).

```yaml
data: {{source: vader, split: {{by: document, parts: [0.8, 0.1, 0.1], seed: 0}}, max_length: 64}}
encoder: {{name: minilm-l6, freeze: 4, cache: true}}
tasks:
  polarity: {{kind: classify, labels: [negative, neutral, positive]}}
  intensity: {{kind: regress, alpha: 0.5}}
  domain: {{kind: classify, sample_weight: inverse_sqrt_size}}
train: {{epochs: 2, batch: 32, optimizer: {{kind: adamw, lr: 1e-4, head_lr: 1e-3}}}}
compress: [{{kind: int8, mode: static, max_loss_pt: 1.0}}, {{kind: distil, student: bag}}]
export: {{repository: models}}
```

## Data

Rows come from files or from a corpus that is known by name; several sources follow each other, and each serves the tasks
whose columns it has.

| source | what it holds |
|---|---|
| `.csv` | a line of names, commas, the quotes of RFC 4180, UTF-8 |
| `.jsonl` | an object a line |
| `.parquet` | a table |
| `{{file: dev-v2.0.json, format: squad}}` | questions of SQuAD, version 1 or 2; of several answers all are accepted in scoring |
| `vader` | 23,703 sentences of editorials, film reviews, product reviews and tweets, each rated by 20 people: `polarity` (negative below -0.5, positive above 0.5), `intensity` (the mean rating, -4 to 4), `alert` (yes from -2 down), `domain`, `document` |
| `vader-ranking` | the 3,592 sentences of the 263 product reviews that have at least five: `relevance` (the mean rating plus 4), `query` |
| `vader-cloze` | 1,561 sentences of 404 editorials with a name hidden that stands elsewhere in the editorial: `question`, `context`, `answer`. What a model scores on them is no quality of question answering |
| `digits` | 1,797 images, 8 x 8: `digit`, `parity` |

An empty cell, an absent key or an absent column means *unlabelled*: the row counts for the tasks that it has a label
for, and for no other; no class stands for it. By kind a cell holds:

| kind | a cell |
|---|---|
| `classify` | a class's name |
| `multilabel` | names with the separator between them, or just the separator for none of them; or, with `columns`, 0 or 1 in each |
| `regress` | a finite number |
| `rank` | a relevance of at least 0; the list is named by the column `query` |
| `span` | the answer as it stands in the context; where it stands there more than once, `<column>_start` says where |

Rows that share a text, a value of `split.by`, a query or a corpus's document make a group, directly or through other
rows, and no group is ever in two parts. Parts that the data give (`split.column`, or `part` of a source) are taken as they are;
groups that are in two of them are refused, with the rows that show it. The data card (`card.json` of a run) holds each
source's SHA-256 and licence, counts by part, task and class, and fingerprints that any changed label, text or part fails.

{sections}
"""

CONFIG_PBTXT = """# config.pbtxt

Generated from `workers/model/fields.py` and `workers/model/runtime/options.py` by `make docs`.

What a worker makes of each field of Triton's `ModelConfig`. An unknown field is an error with its line, a wrong value an
error that names the field, and both are found before the model is loaded. A row speaks for all fields below it that
have no row of their own.

## Offered

| field | effect |
|---|---|
{offered}

## Refused

A model whose config sets one of these is not served: leaving it out would change what an answer means, or the config asks
for something that is not there.

| field | why, and what to do |
|---|---|
{refused}

## Without effect

These only tune Triton. The model is served, and the log names the ones that its config sets, at start.

| field | why |
|---|---|
{idle}

## parameters

Those that Triton's onnxruntime backend reads, and some of ours. Any other is named in the log and has no effect.

| parameter | value | effect |
|---|---|---|
{parameters}

## gpu_execution_accelerator: tensorrt

TensorRT comes first where the config names it (and its libraries are installed), then CUDA, then the CPU. Unlike elsewhere,
an unknown parameter is an error, as it is in Triton.

| parameter | value | effect |
|---|---|---|
{tensorrt}

## gpu_execution_accelerator: cuda

They win over the `parameters` of the same meaning.

| parameter | value | effect |
|---|---|---|
{cuda}

## Refused parameters of accelerators

| parameter | why, and what to do |
|---|---|
{accelerators}
"""


def reasons() -> Iterator[str]:
    """Yield one table row for each reason."""
    for r in Reason:
        row = r.value
        yield f"| {r.number} | `{r.name}` | {row.code.name} | {row.retry.value} | {row.meaning} | {row.remedy} |"


def causes() -> Iterator[str]:
    """Yield one table row for each cause."""
    for c in Cause:
        yield f"| {c.number} | `{c.name}` | {c.text} | `{c.reason.name}` |"


def sections(model: type[BaseModel], title: str, seen: set[str]) -> Iterator[str]:
    """Yield one table for a section of the configuration, then those of the sections in it."""
    seen.add(model.__name__)
    yield f"## {title}\n\n{(model.__doc__ or '').strip()}\n\n| key | type | default | meaning |\n|---|---|---|---|"
    inner: list[tuple[str, type[BaseModel]]] = []
    for key, field in model.model_fields.items():
        name = field.alias or key
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        meaning = (field.description or "").replace("\n", " ").replace("|", r"\|")
        yield f"| `{name}` | {_type(field.annotation)} | {default} | {meaning} |"
        kinds = _models(field.annotation)
        for found in kinds:
            kind = f", `kind: {_kind(found)}`" if len(kinds) > 1 else ""
            inner += [(f"`{name}`{kind}", found)] if found.__name__ not in seen else []
    yield ""
    for where, found in inner:
        yield from sections(found, where, seen)


def fields(effect: Effect) -> Iterator[str]:
    """Yield one table row for each field of ``config.pbtxt`` with this effect."""
    for path, field in FIELDS.items():
        if field.effect is effect:
            yield f"| `{path}` | {field.text} |"


def parameters(table: Mapping[str, options.Option]) -> Iterator[str]:
    """Yield one table row for each option of the runtime."""
    for name, option in table.items():
        yield f"| `{name}` | {option.expects} | {option.text} |"


def _config_pbtxt() -> str:
    return CONFIG_PBTXT.format(
        offered="\n".join(fields(Effect.OFFERED)),
        refused="\n".join(fields(Effect.REFUSED)),
        idle="\n".join(fields(Effect.NONE)),
        parameters="\n".join(parameters(options.PARAMETERS)),
        tensorrt="\n".join(parameters(options.TENSORRT)),
        cuda="\n".join(parameters(options.CUDA)),
        accelerators="\n".join(f"| `{name}` | {why} |" for name, why in options.REFUSED.items()),
    )


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "see below"
    if value is None or value in ((), {}, ""):
        return ""
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"`{shown}`".replace("|", r"\|")


def _type(annotation: Any) -> str:
    models = _models(annotation)
    names = [re.sub(r"(?<=[a-z])(?=[A-Z])", " ", found.__name__).lower() for found in models]
    names = [_kind(found) for found in models] if len(models) > 1 else names
    if names:
        many = {"dict": "mapping of ", "tuple": "list of "}
        return next((word for kind, word in many.items() if f"{kind}[" in str(annotation)), "") + " or ".join(
            names
        )
    text = str(annotation) if get_args(annotation) else getattr(annotation, "__name__", str(annotation))
    literal = [
        a for part in (annotation, *get_args(annotation)) for a in get_args(part) if isinstance(a, str)
    ]
    if literal:
        number = any(get_args(part)[:1] == (int,) for part in get_args(annotation))
        return " \\| ".join([*(["integer"] if number else []), *(f"`{value}`" for value in literal)])
    if text.startswith("tuple["):
        return "list"
    for word, plain in {
        "float": "number",
        "int": "integer",
        "bool": "true or false",
        "tuple": "list",
    }.items():
        if word in text:
            return plain
    return "mapping" if "dict" in text else "text"


def _kind(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["kind"].annotation)[0])


def _models(annotation: Any) -> list[type[BaseModel]]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models(part)]


def pages() -> dict[Path, str]:
    """Return every generated page by its path."""
    return {
        HERE / "errors.md": ERRORS.format(reasons="\n".join(reasons()), causes="\n".join(causes())),
        HERE / "config-pbtxt.md": _config_pbtxt(),
        HERE / "conformance.md": conformance.page(),
        HERE / "graphs.md": plans.page(),
        HERE / "graphs-plan.svg": plans.picture(),
        HERE / "triton.md": triton.page(),
        HERE / "training-config.md": TRAINING.format(
            sections="\n".join(sections(Training, "The file", set())).strip()
        ),
        HERE / "config.md": CONFIG.format(sections="\n".join(sections(Config, "The file", set())).strip()),
    }


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` tell which differ."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} differs from the source; run: make docs", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages()[path])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
