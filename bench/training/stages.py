"""Does what the claims are about: whole chains, runs of several seeds, variants, tests.

Each stage leaves what it found in the output folder, and what is found there is not done again: half an hour
of training survives an interruption.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench import ROOT, BenchFailed
from bench.machine import Clocks, others
from bench.training.claims import BAG, INDIVIDUAL, JOINT, LAYERS, UNTAUGHT, Chain, Proof
from training import loop
from training.compress.distil import BATCH
from training.compress.measure import cost
from training.compress.opened import open_run
from training.compress.scores import feed_of
from training.compress.variants import compress
from training.config import Config, Distil, Encoder, Half, Int8, Optimizer, Prune, load
from training.data import Part
from training.data.load import load as load_data
from training.evaluate.findings import Cost
from training.evaluate.metrics import measure
from training.files import written
from training.run import write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from training.compress.opened import Opened
    from training.compress.variant import Variant
    from training.data import Dataset
    from training.progress import Progress

__all__ = ["PROOFS", "Stages"]

#: How often all variants are timed, one after the other.
ROUNDS = 5
EXAMPLES = ROOT / "examples" / "training"
#: What a test shows, and where it is.
PROOFS: Mapping[str, Sequence[str]] = {
    "a run killed with SIGKILL goes on to the same bits": (
        "tests/training/test_resume.py::test_after_kill_9_it_goes_on_as_if_nothing_had_been",
    ),
    "two processes have the gradient of the double batch, to 1e-6": (
        "tests/training/test_processes.py::test_two_processes_have_the_gradient_of_the_whole_batch",
    ),
    "controls: shuffled labels fall to chance": (
        "tests/training/test_loop.py::test_shuffled_labels_fall_to_chance",
    ),
    "controls: a split by row is caught": (
        "tests/unit/training/test_split.py::test_a_split_by_row_is_caught",
    ),
    "controls: swapped labels fail the card": (
        "tests/training/test_export.py::test_swapped_labels_fail_the_card",
    ),
    "controls: a perturbed weight fails parity": (
        "tests/training/test_onnx.py::test_a_perturbed_weight_fails_parity",
    ),
    "controls: dynamic int8 fails invariance": (
        "tests/training/test_compress.py::test_dynamic_eight_bits_do_not",
    ),
}


class Stages:
    """The stages, in the order in which they are called.

    Args:
        out: Where everything goes.
        tell: Told what is being done.
        report: Told how far a training is.
    """

    def __init__(self, out: Path, *, tell: Callable[[str], None], report: Callable[[Progress], None]) -> None:
        self._out, self._tell, self._report = out, tell, report

    def smoke(self) -> Chain:
        """Time the short chain."""
        return self._chain("train-smoke", ["make", "-s", "-C", str(ROOT), "train-smoke"])

    def demo(self) -> Chain:
        """Time the demonstration from nothing; its run is the first joint one."""
        config, run = self._config(JOINT, 0), self._run(JOINT, 0)
        if not self._kept("train-demo").exists():
            for folder in (run, *(self._out / name for name in ("downloads", "prefix", "trained"))):
                shutil.rmtree(folder, ignore_errors=True)
        write_config(self._out / "demo", config)
        file = self._out / "demo" / "config.yaml"
        command = ["-m", "examples.training.demo", "--config", str(file), "--out", str(self._out / "demo")]
        return self._chain("train-demo", [sys.executable, *command])

    def seeds(self, count: int) -> list[Path]:
        """Train joint and individual models of several seeds, and return their folders."""
        folders = []
        for seed in range(count):
            for mode in (JOINT, INDIVIDUAL):
                config, folder = self._config(mode, seed), self._run(mode, seed)
                self._tell(f"{mode} model{'s' if mode == INDIVIDUAL else ''}, seed {seed}")
                loop.train(config, self._dataset, folder, resume=True, measure=measure, report=self._report)
                folders.append(folder)
        return folders

    def variants(self) -> tuple[Mapping[str, Mapping[str, Any]], Mapping[str, Sequence[Cost]]]:
        """Make every variant of the first joint model; return what was measured of each, and its costs."""
        asked = self._config(JOINT, 0)
        steps = (*asked.compress, *_more(asked))
        (run,) = open_run(self._run(JOINT, 0), asked.model_copy(update={"compress": steps}))
        made = compress(run.config, run.dataset, run.model, run.folder, tell=self._tell, report=self._report)
        return {variant.name: variant.facts for variant in made}, self._timed(made, run)

    def _timed(self, made: Sequence[Variant], run: Opened) -> Mapping[str, Sequence[Cost]]:
        """Time all variants in every round: what was measured when each was made is of different minutes."""
        of = {each.name: each.facts["onnx_sha256"] for each in made}

        def timed() -> list[dict[str, Any]]:
            self._tell(f"timing {len(made)} variants, {ROUNDS} rounds")
            feed, rows = feed_of(run.model, run.dataset), run.dataset.rows(Part.VALIDATION)
            return [{each.name: asdict(cost(each.onnx, feed, rows)) for each in made} for _ in range(ROUNDS)]

        rounds = self._once("costs", timed, of=of)
        return {name: [Cost(**each[name]) for each in rounds] for name in of}

    def untaught(self) -> Path:
        """Train the bag on labels alone, from random weights, as long as the student; return its folder."""
        config, folder = self._config(UNTAUGHT, 0), self._run(UNTAUGHT, 0)
        pupil = _bag(config)
        train = config.train.model_copy(
            update={
                "mode": JOINT,
                "epochs": pupil.epochs,
                "batch": BATCH,
                "optimizer": Optimizer(lr=pupil.lr, weight_decay=config.train.optimizer.weight_decay),
            }
        )
        # of the teacher it has how to cut texts into tokens
        encoder = Encoder(name="bag", width=pupil.width, path=self._run(JOINT, 0))
        config = config.model_copy(update={"encoder": encoder, "train": train})
        self._tell("the student without a teacher")
        loop.train(config, self._dataset, folder, resume=True, measure=measure, report=self._report)
        return folder

    def proofs(self) -> list[Proof]:
        """Run the tests that show what no figure does."""

        def proved() -> list[dict[str, Any]]:
            self._tell("running the tests that show what no figure does")
            return [asdict(_proof(shows, tests, self._out)) for shows, tests in PROOFS.items()]

        return [Proof(**each) for each in self._once("proofs", proved)]

    @cached_property
    def _dataset(self) -> Dataset:
        """The rows, which all runs share."""
        return load_data(self._config(JOINT, 0))

    def _config(self, mode: str, seed: int) -> Config:
        config, _ = load(EXAMPLES / "reviews.yaml")
        assert config.export is not None  # noqa: S101 - the example says where to
        # downloads lie here too, so that the first chain fetches and computes what a fresh clone would
        data = config.data.model_copy(update={"downloads": self._out / "downloads"})
        return config.model_copy(
            update={
                "data": data,
                "train": config.train.model_copy(update={"mode": mode, "seed": seed}),
                "export": config.export.model_copy(
                    update={"repository": self._out / "trained", "name": "reviews"}
                ),
                "out": self._run(mode, seed),
            }
        )

    def _run(self, mode: str, seed: int) -> Path:
        return self._out / "runs" / f"{mode}-{seed}"

    def _kept(self, name: str) -> Path:
        return self._out / f"{name}.json"

    def _once(self, name: str, find: Callable[[], Any], *, of: Any = None) -> Any:
        """Return what was found under a name, of the same; find it, and keep it, only if nothing was."""
        kept = self._kept(name)
        if not kept.exists() or json.loads(kept.read_bytes())["of"] != of:
            written(kept, json.dumps({"of": of, "found": find()}))
        return json.loads(kept.read_bytes())["found"]

    def _chain(self, name: str, command: Sequence[str]) -> Chain:
        log = self._out / f"{name}.log"

        def timed() -> dict[str, Any]:
            self._tell(f"make {name}: its output goes to {log}")
            before, began = Clocks.read(), time.perf_counter()
            with log.open("wb") as file:
                ended = subprocess.run(  # noqa: S603 - commands of this module
                    command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False
                )
            if ended.returncode:
                last = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
                raise BenchFailed(f"make {name} failed: {' '.join(last)} ({log})")
            minutes = (time.perf_counter() - began) / 60
            return asdict(Chain(minutes=minutes, others=others(before, Clocks.read())))

        return Chain(**self._once(name, timed))


def _bag(asked: Config) -> Distil:
    return next(step for step in asked.compress if isinstance(step, Distil) and step.student == BAG)


def _more(asked: Config) -> list[Any]:
    """Return the steps of the claims that the example does without."""
    return [
        Int8(kind="int8", mode="dynamic"),
        Half(kind="fp16"),
        Prune(kind="prune"),
        Distil(kind="distil", student="layers", epochs=5, lr=4e-4),
        Int8(kind="int8", of="layers", name=LAYERS),
        # with its teacher's embeddings to begin with, but not its answers
        _bag(asked).model_copy(update={"share": 0.0, "name": "bag-labels"}),
        Int8(kind="int8", of=BAG),
    ]


def _proof(shows: str, tests: Sequence[str], out: Path) -> Proof:
    told = out / "proof.xml"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={told}", *tests]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)  # noqa: S603 - as above
    cases = list(ET.parse(told).iter("testcase")) if told.exists() else []  # noqa: S314 - written by the line above
    return Proof(shows=shows, passed=sum(not len(case) for case in cases), tests=len(cases))
