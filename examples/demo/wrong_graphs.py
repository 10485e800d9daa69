"""Wrong graphs: faults planted one at a time in the sentiment example, and what ``accord check`` says."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FAULTS", "Complaint", "Fault", "check_wrongly"]

LINEAR = "{model: sentiment-linear, inputs: {features: {member: minilm, output: embedding}}}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Args:
        problem: What, in words.
        was: What stands in the example.
        becomes: What is put there instead.
        path: Where the complaint must point.
        words: What it must say.
    """

    problem: str
    was: str
    becomes: str
    path: str
    words: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """What was said of a fault.

    Args:
        problem: The fault.
        told: The complaints, each with its line and path.
        expected: Whether there is exactly one, where and as it must be.
    """

    problem: str
    told: tuple[str, ...]
    expected: bool


def _linear(source: str) -> str:
    return LINEAR.replace("{member: minilm, output: embedding}", source)


_MEMBER = "ensembles.sentiment.members[1]"
FAULTS = (
    Fault(
        "a member that is not there",
        LINEAR,
        _linear("{member: minilmm, output: embedding}"),
        f"{_MEMBER}.inputs.features",
        "did you mean 'minilm'?",
    ),
    Fault(
        "an output that is not there",
        LINEAR,
        _linear("{member: minilm, output: embeding}"),
        f"{_MEMBER}.inputs.features",
        "which returns 'embedding'",
    ),
    Fault(
        "a circle",
        LINEAR,
        _linear("{member: sentiment-meta, output: probabilities}"),
        f"{_MEMBER}.inputs",
        "sentiment-linear -> sentiment-meta -> sentiment-linear",
    ),
    Fault(
        "another datatype",
        "- {model: polarity-words}",
        "- {model: polarity-words, inputs: {text: {member: minilm, output: embedding}}}",
        "ensembles.sentiment.members[3].inputs.text",
        "takes 'text' as BYTES [-1, 1], but 'embedding' of member 'minilm' is FP32 [-1, 384]",
    ),
    Fault(
        "another shape",
        LINEAR,
        _linear("{member: polarity-words, output: probabilities}"),
        f"{_MEMBER}.inputs.features",
        "takes 'features' as FP32 [-1, 384], but 'probabilities' of member 'polarity-words' is FP32 [-1, 3]",
    ),
    Fault(
        "a member that nobody reads",
        "- {model: polarity-words}",
        "- {model: polarity-words}\n      - {model: polarity-words, name: idle, counts: false}",
        "ensembles.sentiment.members[4].counts",
        "it is unused",
    ),
)


def check_wrongly(example: Path, repository: Path, folder: Path) -> tuple[Complaint, ...]:
    """Plant each fault in a copy of the example and check it.

    Args:
        example: The example's configuration.
        repository: Where its models are.
        folder: Where the copies go.
    """
    text = example.read_text("utf-8").replace("../build/models", str(repository.resolve()))

    def check(numbered: tuple[int, Fault]) -> Complaint:
        number, fault = numbered
        copy = folder / f"wrong-{number}.yaml"
        copy.write_text(text.replace(fault.was, fault.becomes), "utf-8")
        done = subprocess.run(  # noqa: S603 - our own interpreter, fixed arguments
            [sys.executable, "-m", "accord.cli", "check", str(copy), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(done.stdout)["complaints"]
        told = tuple(f"line {one['line']}: {one['path']}: {one['problem']}" for one in found)
        expected = len(found) == 1 and found[0]["path"] == fault.path and fault.words in found[0]["problem"]
        return Complaint(fault.problem, told, expected)

    with ThreadPoolExecutor(2) as pool:
        return tuple(pool.map(check, enumerate(FAULTS)))
