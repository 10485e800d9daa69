"""The one error of training that is meant for people."""

from __future__ import annotations

__all__ = ["TrainingError"]


class TrainingError(Exception):
    """Something that a person can mend. Expected; nothing is left half-written where it is raised.

    Args:
        place: Where it is: a file with its line, a task, a step, a device.
        problem: What is wrong.
        remedy: What to do about it.

    Example:
        >>> str(TrainingError("reviews.csv:7", "unknown label 'god'", "add it to labels, or mend the row"))
        "reviews.csv:7: unknown label 'god'; add it to labels, or mend the row"
    """

    def __init__(self, place: str, problem: str, remedy: str) -> None:
        super().__init__(f"{place}: {problem}; {remedy}")
        self.place = place
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[TrainingError], tuple[str, str, str]]:
        return type(self), (self.place, self.problem, self.remedy)
