"""Objectives: what is made small, task by task and all together."""

from training.objectives.balance import Balance
from training.objectives.distil import Teacher, distil_losses
from training.objectives.losses import rows_losses, shares

__all__ = ["Balance", "Teacher", "distil_losses", "rows_losses", "shares"]
