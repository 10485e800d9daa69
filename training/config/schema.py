"""The configuration of a training as values: strict, frozen, every key described."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from training.config.data import Data
from training.config.scalars import TASK, Name, Place, Rate, Section, Share

__all__ = [
    "Balance",
    "Compression",
    "Config",
    "Distil",
    "EarlyStopping",
    "Encoder",
    "Export",
    "Half",
    "Int8",
    "Mix",
    "Optimizer",
    "Prune",
    "Task",
    "Thaw",
    "Train",
    "variant",
]


def _layers_or_patterns(value: object) -> object:
    # before the union is tried: its two accounts of what is wrong would be one too many
    layers = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    patterns = isinstance(value, list | tuple) and value and all(isinstance(p, str) for p in value)
    if not layers and not patterns:
        raise ValueError(f"must be a number of layers, or a list of patterns, not {value!r:.64}")
    return value


class Thaw(Section):
    """From which epoch on how much is frozen."""

    epoch: Annotated[int, Field(ge=1)]
    """The epoch, from 1 on: the first is 0 and has what `freeze` says."""
    freeze: Annotated[int, Field(ge=0)]
    """Layers that are frozen from then on."""


class Encoder(Section):
    """What turns an input into numbers, shared by all tasks."""

    model_config = ConfigDict(populate_by_name=True)

    name: Literal["minilm-l6", "local", "bert", "bag", "image", "tabular"] = "minilm-l6"
    """`minilm-l6`: pretrained, from the Python package registry; `local`: a Hugging Face encoder in `path`;
    `bert`: one with random weights; `bag`: words and pairs of words; `image`: convolutions; `tabular`: dense
    layers."""
    path: Place | None = None
    """Folder of a Hugging Face encoder with its `tokenizer.json`; for `bert`, of the tokenizer alone."""
    from_: Annotated[Place | None, Field(alias="from")] = None
    """Folder of a run whose encoder to start from."""
    freeze: Annotated[int | tuple[str, ...], BeforeValidator(_layers_or_patterns)] = 0
    """Layers that are not trained, counted from the input, embeddings too; or patterns of parameter names."""
    cache: bool = False
    """Compute what the frozen layers say of each row once, and keep it."""
    unfreeze: tuple[Thaw, ...] = ()
    """Layers that are trained after all, later."""
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers of an encoder that starts from random weights."""
    width: Annotated[int, Field(ge=4, le=4096)] = 128
    """Its width."""
    vocabulary: Annotated[int, Field(ge=64, le=1_000_000)] = 8192
    """Tokens that it knows, most frequent first, where no tokenizer comes with it."""

    @model_validator(mode="after")
    def _consistent(self) -> Encoder:
        if self.name == "local" and self.path is None:
            raise ValueError("local needs path: the folder of the encoder")
        if self.cache and not (isinstance(self.freeze, int) and self.freeze > 0):
            raise ValueError("cache keeps what frozen layers say: freeze must be a number of at least 1")
        if self.cache and self.unfreeze:
            raise ValueError("cache and unfreeze contradict each other: leave one out")
        epochs = [thaw.epoch for thaw in self.unfreeze]
        if epochs != sorted(set(epochs)):
            raise ValueError("unfreeze must name each epoch once, in order")
        return self


class Task(Section):
    """One question to each row."""

    kind: Literal["classify", "multilabel", "regress", "rank", "span"]
    """What is asked."""
    column: str | None = None
    """The column that holds the answer; default: the task's name. An empty cell means unlabelled."""
    columns: tuple[str, ...] = ()
    """For multilabel: a column of 0 and 1 for each class, instead of one column."""
    separator: Annotated[str, Field(min_length=1)] = "|"
    """For multilabel in one column: what stands between classes; a cell of just this has none of them."""
    labels: tuple[str, ...] = ()
    """The classes in order; default: those of the training rows, sorted."""
    query: str | None = None
    """For rank: the column that names the list that a row belongs to; default: `query`."""
    alpha: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = 1.0
    """Weight of its loss."""
    huber: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = None
    """For regress: the error from which on it counts linearly, not squared; default: never."""
    sample_weight: Literal["equal", "inverse_sqrt_size"] = "equal"
    """Whether rows weigh alike, or each by one over the root of how many labelled rows its domain has for
    this task: evens out tasks and domains of unequal size."""

    @model_validator(mode="after")
    def _fitting(self) -> Task:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels name a class twice")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError("columns name a class twice")
        for label in self.labels:
            if label != label.strip() or len(label.splitlines()) != 1:
                raise ValueError(f"labels has {label!r}: a name is one line without blanks around it")
            if self.kind == "multilabel" and self.separator in label:
                raise ValueError(f"labels has {label!r}, which holds the separator {self.separator!r}")
        if self.labels and self.kind not in ("classify", "multilabel"):
            raise ValueError(f"labels have no effect on {self.kind}")
        if self.kind == "classify" and len(self.labels) == 1:
            raise ValueError("labels need at least 2 classes")
        if self.columns and (self.kind != "multilabel" or self.column or self.labels):
            raise ValueError("columns are for multilabel, and name its classes: without column and labels")
        if self.huber is not None and self.kind != "regress":
            raise ValueError(f"huber has no effect on {self.kind}")
        if self.query is not None and self.kind != "rank":
            raise ValueError(f"query has no effect on {self.kind}")
        return self


class Optimizer(Section):
    """How weights follow gradients."""

    kind: Literal["adamw", "adam", "sgd"] = "adamw"
    """Which rule."""
    lr: Rate = 1e-4
    """Learning rate of the encoder."""
    head_lr: Rate | None = None
    """Learning rate of the heads; default: that of the encoder."""
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    """Weight decay; biases and norms have none."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum, for sgd."""


class Mix(Section):
    """How often each domain is drawn."""

    temperature: Annotated[float, Field(ge=1, le=1e6)] = 1.0
    """A domain is drawn by its size to the power 1 / temperature: 1 is by size, larger is evener."""


class Balance(Section):
    """How the tasks' losses become one."""

    kind: Literal[
        "fixed", "initial", "uw", "dwa", "imtl_l", "famo", "geometric_mean", "random", "stch",
        "pcgrad", "mgda", "cagrad", "upgrad", "dualproj", "imtl_g", "aligned_mtl", "config",
        "graddrop", "gradvac", "fairgrad", "excess_mtl",
    ] = "fixed"  # fmt: skip
    """`fixed`: by alpha; `initial`: by alpha over the first batches' loss; the rest as in TorchJD, from
    `pcgrad` on with a gradient for each task."""
    search: Annotated[int, Field(ge=0, le=256)] = 0
    """Short runs on the cache that look for better alphas, for `fixed`."""

    @model_validator(mode="after")
    def _searchable(self) -> Balance:
        if self.search and self.kind != "fixed":
            raise ValueError("search has no effect unless kind is fixed")
        return self


class EarlyStopping(Section):
    """Stop when validation gets no better; the best weights are kept."""

    patience: Annotated[int, Field(ge=1)] = 2
    """Evaluations without a better one before the end."""
    least: Annotated[float, Field(ge=0)] = 0.0
    """Improvements up to this do not count."""


class Train(Section):
    """The run."""

    mode: Literal["joint", "individual"] = "joint"
    """One model for all tasks, or one for each."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 2
    """Passes over the training rows."""
    batch: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Rows of a step, in all processes together."""
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    """Pieces that a batch is computed in, where it does not fit the memory."""
    optimizer: Optimizer = Optimizer()
    """How weights follow gradients."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps over which the learning rate rises."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of activations that are dropped in training."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null: none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the arithmetic; auto: bf16 where the hardware has it."""
    mix: Mix = Mix()
    """How often each domain is drawn."""
    balance: Balance = Balance()
    """How the tasks' losses become one."""
    early_stopping: EarlyStopping | None = None
    """Stop when validation gets no better; default: never."""
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between evaluations on validation; default: once an epoch."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 500
    """Steps between checkpoints; also at the end of each epoch."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs; auto: a GPU where there is one."""
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that share each batch: a GPU each if there are as many, else all on the CPU."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads of a process; default: the CPUs shared out among processes."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of weights, order and dropout."""


class _Step(Section):
    name: Name | None = None
    """The variant's name; default: from what it is."""
    of: Name = "fp32"
    """The variant that it is made from: `fp32` is the trained model."""


class Int8(_Step):
    """Weights and arithmetic in 8-bit whole numbers."""

    kind: Literal["int8"]
    """What is done."""
    mode: Literal["static", "dynamic"] = "static"
    """static: ranges measured beforehand; dynamic: per batch, on which a row's answer then depends."""
    max_loss_pt: Annotated[float, Field(ge=0, le=100)] | None = None
    """Most points that a task may lose of what `of` has on validation: the worst nodes stay fp32 until that
    holds."""
    rows: Annotated[int, Field(ge=1)] = 256
    """Training rows that ranges are measured on."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.999
    """Share of activations, in percent, that the ranges cover; 100: all."""
    per_channel: bool = True
    """A range for each output channel of a weight."""
    reduce_range: bool = False
    """Seven bits, for CPUs without VNNI, whose sums would saturate."""


class Half(_Step):
    """Weights in 16 bits."""

    kind: Literal["fp16"]
    """What is done."""


class Prune(_Step):
    """Cut the least used part of the dense layers out, then train on."""

    kind: Literal["prune"]
    """What is done."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the inner width that is cut."""
    steps: Annotated[int, Field(ge=0)] = 200
    """Steps of training afterwards."""


class Distil(_Step):
    """Train a small model to answer as the trained one does."""

    kind: Literal["distil"]
    """What is done."""
    student: Literal["layers", "cnn", "bag"]
    """`layers`: some of the encoder's own, first and last included; `cnn`: two convolutions; `bag`: words and
    pairs of words."""
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers that a student of layers keeps."""
    width: Annotated[int, Field(ge=4, le=4096)] = 128
    """Width of the other students."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Passes over the training rows."""
    lr: Rate = 1e-3
    """Learning rate."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0
    """Softens the teacher's probabilities."""
    share: Share = 0.7
    """Weight of the teacher's answers; the rest is the labels'. 0: no teacher."""


Compression = Annotated[Int8 | Half | Prune | Distil, Field(discriminator="kind")]


class Export(Section):
    """What is handed over."""

    repository: Place
    """Model repository in Triton's layout; relative to this file."""
    name: Name | None = None
    """The model's name there, the variant's appended unless it is fp32; default: that of the run's folder."""
    variants: tuple[Name, ...] = ()
    """Variants to export; default: the trained model and all that `compress` makes."""
    max_batch_size: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Most rows of a call."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Largest difference between what was trained and what fp32 ONNX says."""
    allow_batch_dependent: bool = False
    """Whether a model is exported whose answer for a row depends on the rows beside it; its card says so."""


class Config(Section):
    """A training from data to model repository."""

    data: Data
    """The rows."""
    encoder: Encoder = Encoder()
    """What is shared by all tasks."""
    tasks: Annotated[dict[Annotated[str, Field(pattern=TASK)], Task], Field(min_length=1)]
    """Tasks by name."""
    train: Train = Train()
    """The run."""
    compress: tuple[Compression, ...] = ()
    """Variants to make of the trained model, in order."""
    export: Export | None = None
    """Where models go; default: nowhere."""
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where a run is shown besides; wandb stays offline unless a key is given."""
    out: Place = Path("runs")
    """Folder of the run; default: `runs/` and this file's name, beside it."""

    @model_validator(mode="before")
    @classmethod
    def _out(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, dict) and "out" not in value and info.context:
            return value | {"out": f"runs/{info.context['stem']}"}
        return value

    @field_validator("compress")
    @classmethod
    def _made_before(cls, steps: tuple[Any, ...]) -> tuple[Any, ...]:
        made = ["fp32"]
        for step in steps:
            if step.of not in made:
                raise ValueError(f"{step.of!r} is made by no step before; there are {', '.join(made)}")
            name = variant(step)
            if name in made:
                raise ValueError(f"the variant {name!r} is made twice; give one of the two a name:")
            made.append(name)
        return steps


def variant(step: Compression) -> str:
    """Return the name of what a step makes.

    Example:
        >>> variant(Int8(kind="int8")), variant(Int8(kind="int8", mode="dynamic", of="bag"))
        ('int8', 'bag-int8-dynamic')
    """
    if step.name is not None:
        return step.name
    own: str = step.kind
    if isinstance(step, Int8):
        own = "int8" if step.mode == "static" else "int8-dynamic"
    if isinstance(step, Distil):
        own = step.student
    return own if step.of == "fp32" else f"{step.of}-{own}"
