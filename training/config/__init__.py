"""The configuration of a training: what may be said (`schema`, `data`) and how a file is read (`load`)."""

from training.config.data import CORPORA, Data, Source, Split
from training.config.load import load
from training.config.schema import (
    Balance,
    Compression,
    Config,
    Distil,
    EarlyStopping,
    Encoder,
    Export,
    Half,
    Int8,
    Mix,
    Optimizer,
    Prune,
    Task,
    Thaw,
    Train,
    variant,
)

__all__ = [
    "CORPORA",
    "Balance",
    "Compression",
    "Config",
    "Data",
    "Distil",
    "EarlyStopping",
    "Encoder",
    "Export",
    "Half",
    "Int8",
    "Mix",
    "Optimizer",
    "Prune",
    "Source",
    "Split",
    "Task",
    "Thaw",
    "Train",
    "load",
    "variant",
]
