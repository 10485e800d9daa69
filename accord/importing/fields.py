"""Every field of a Triton ensemble's ``config.pbtxt``: carried over, lost, or a reason to leave it out.

Rules:

- An entry of :data:`FIELDS` speaks for a field and for all fields below it that have no entry of their own.
- What changes no answer is lost and named; what would change answers leaves the ensemble out.
- A field without an entry counts as lost: what nobody thought of is named too.
- The fields of models are those of :mod:`workers.model.fields`, because a worker reads the same file.

Sources: Triton ``model_config.proto``; Triton core, ``ValidateEnsembleSchedulingConfig``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["FIELDS", "UNKNOWN", "Fate", "Field", "entry_of"]


class Fate(Enum):
    """What becomes of a field."""

    CARRIED = "carried over"
    LOST = "lost"
    STOPS = "leaves the ensemble out"


@dataclass(frozen=True, slots=True)
class Field:
    """One entry.

    Args:
        fate: What becomes of the field.
        text: What it becomes here, or what not having it means.
        remedy: What to do instead; empty where it is carried over.
    """

    fate: Fate
    text: str
    remedy: str = ""


_MODELS_OWN = "it is a matter of the models", "set it in the models' config.pbtxt"
_NOT_OF_ENSEMBLES = "Triton refuses it for an ensemble, or heeds it for models only", "remove it"
_SHAPE_TENSOR = "the gateway passes tensors as they come", "keep the ensemble on Triton and ask it there: oip"

_CARRIED = {
    "name": "The ensemble's name; must equal the directory's.",
    "platform": "`ensemble`.",
    "max_batch_size": (
        "Whether the ensemble batches; here it does if its models do, up to the least of their limits. "
        "A lower limit of its own is named."
    ),
    "input": "Checked against the steps that read it; what the models take is what a request must carry.",
    "input.optional": "`optional_inputs`.",
    "output": "The output of the step that writes it, under the ensemble's name, by `outputs`.",
    "ensemble_scheduling.step": "A member.",
    "ensemble_scheduling.step.model_name": "`model`, or `ensemble` where it is one.",
    "ensemble_scheduling.step.model_version": (
        "-1: the version that the model answers with. Another: a model of its own with that `version`."
    ),
    "ensemble_scheduling.step.input_map": "`inputs`: a request's tensor, or an output of another member.",
    "ensemble_scheduling.step.output_map": (
        "`outputs` for what the ensemble returns; what other steps read stands in their `inputs`. "
        "Both: `counts: true`."
    ),
}
_LOST = {
    "backend": _NOT_OF_ENSEMBLES,
    "runtime": _NOT_OF_ENSEMBLES,
    "version_policy": (
        "an ensemble has one version here, that of the highest directory",
        "import a repository for each version that must be served",
    ),
    "output.label_filename": (
        "classes are named by the model that computes them, not by the ensemble",
        "give the label file to the output of the step's model",
    ),
    "input.format": _MODELS_OWN,
    "optimization": _NOT_OF_ENSEMBLES,
    "instance_group": _NOT_OF_ENSEMBLES,
    "model_warmup": _NOT_OF_ENSEMBLES,
    "default_model_filename": _NOT_OF_ENSEMBLES,
    "cc_model_filenames": _NOT_OF_ENSEMBLES,
    "model_operations": _NOT_OF_ENSEMBLES,
    "ensemble_scheduling.max_inflight_requests": (
        "a step is not limited by itself",
        "bound the whole by server.max_in_flight, or a model by its own dynamic_batching queue",
    ),
    "ensemble_scheduling.step.model_namespace": (
        "Triton reserves it for itself; here a name has one meaning",
        "remove it, if the model of that name in this repository is meant",
    ),
    "metric_tags": ("the gateway's metrics have their own labels", "match on the label `name`"),
    "model_metrics": (
        "the gateway's metrics have their own buckets",
        "read `accord_request_seconds` instead",
    ),
    "parameters": (
        "Triton tells clients of them, and models do not see them",
        "keep them where they are read",
    ),
    "response_cache": (
        "answers are not kept: every call is computed, with the same result",
        "put a cache in front, if calls repeat",
    ),
}
_STOPS = {
    "input.reshape": ("steps would get another shape than they do", "move the reshape to the step's model"),
    "output.reshape": (
        "clients would get another shape than they do",
        "move the reshape to the step's model",
    ),
    "input.is_shape_tensor": _SHAPE_TENSOR,
    "input.is_non_linear_format_io": _SHAPE_TENSOR,
    "input.allow_ragged_batch": ("rows of one batch have one shape", "pad the rows"),
    "output.is_shape_tensor": _SHAPE_TENSOR,
    "output.is_non_linear_format_io": _SHAPE_TENSOR,
    "batch_input": ("the gateway adds no tensors of its own", "set it on the model that reads it, on Triton"),
    "batch_output": ("the gateway scatters no outputs", "set it on the model that writes it, on Triton"),
    "dynamic_batching": ("an ensemble cannot have it beside its steps", "set it on the models"),
    "sequence_batching": ("nothing is kept between calls", "keep the sequence on Triton and ask it there"),
    "model_repository_agents": ("agents are not run", "put the prepared files into the repository"),
    "model_transaction_policy.decoupled": (
        "a call has one answer",
        "keep the model on Triton and stream from there",
    ),
}

#: Dotted path of a field (keys of maps left out) -> its entry.
FIELDS: dict[str, Field] = (
    {path: Field(Fate.CARRIED, text) for path, text in _CARRIED.items()}
    | {path: Field(Fate.LOST, *entry) for path, entry in _LOST.items()}
    | {path: Field(Fate.STOPS, *entry) for path, entry in _STOPS.items()}
)
#: What holds for a field that has no entry.
UNKNOWN = Field(Fate.LOST, "it has no meaning here", "look up what it does in Triton's documentation")


def entry_of(path: str) -> tuple[str, Field]:
    """Return the entry that speaks for a field, its own or the nearest above, after its path.

    Example:
        >>> entry_of("output.reshape.shape")[0], entry_of("input.dims")[1].fate
        ('output.reshape', <Fate.CARRIED: 'carried over'>)
    """
    above = path
    while above and above not in FIELDS:
        above = above.rpartition(".")[0]
    return (above, FIELDS[above]) if above else (path, UNKNOWN)
