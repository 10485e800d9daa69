"""Models: an encoder that all tasks share, and a head for each task."""

from training.models.freeze import freeze
from training.models.heads import Answer
from training.models.model import Model, build, described, restore

__all__ = ["Answer", "Model", "build", "described", "freeze", "restore"]
