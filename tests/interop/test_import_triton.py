"""A Triton repository with ensembles, imported by one command, answers as the real Triton does, bit for bit.

The models are the same ONNX files, run by the same release of the ONNX runtime on both sides.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from bench.peers.repository import for_triton
from bench.peers.triton import serve_triton
from protos.tensor import Tensor
from tests import models
from tests.interop.asking import infer
from tests.peers import ensure_installed
from tests.serving import eventually, failed, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# the first run downloads
pytestmark = pytest.mark.timeout(900)

FP32, INT64, BYTES = "TYPE_FP32", "TYPE_INT64", "TYPE_STRING"


def entry(name: str, datatype: str = FP32, dims: str = "4", *, optional: bool = False) -> str:
    return f'{{name: "{name}" data_type: {datatype} dims: [{dims}]{" optional: true" * optional}}}'


def step(model: str, reads: dict[str, str], writes: dict[str, str], version: int = -1) -> str:
    maps = [
        f'{side}_map {{key: "{own}" value: "{tensor}"}}'
        for side, mapped in (("input", reads), ("output", writes))
        for own, tensor in mapped.items()
    ]
    return f'{{model_name: "{model}" model_version: {version} {" ".join(maps)}}}'


def pipeline(
    rows: int, inputs: Sequence[str], outputs: Sequence[str], *steps: str, more: str = ""
) -> tuple[list[str], str]:
    """Return the names of an ensemble's outputs, and its config."""
    text = (
        f'platform: "ensemble" max_batch_size: {rows} {more} input [{", ".join(inputs)}] '
        f"output [{', '.join(outputs)}] ensemble_scheduling {{step [{', '.join(steps)}]}}"
    )
    return [output.split('"')[1] for output in outputs], text


SQUARE = f"max_batch_size: 8 input [{entry('x')}] output [{entry('y')}]"
ENSEMBLES = {
    "fan": pipeline(
        8,
        [entry("PIXELS")],
        [entry("MEAN")],
        *(step(model, {"x": "PIXELS"}, {"y": f"of_{model}"}) for model in "abc"),
        step("average", {"p": "of_a", "q": "of_b", "r": "of_c"}, {"mean": "MEAN"}),
    ),
    # not in the order in which they can be made
    "chain": pipeline(
        8,
        [entry("x")],
        [entry("y")],
        step("c", {"x": "two"}, {"y": "y"}),
        step("a", {"x": "x"}, {"y": "one"}),
        step("b", {"x": "one"}, {"y": "two"}),
    ),
    "branch": pipeline(
        8,
        [entry("x")],
        [entry("EMBEDDING"), entry("SCORES"), entry("OTHER")],
        step("a", {"x": "x"}, {"y": "EMBEDDING"}),
        step("b", {"x": "EMBEDDING"}, {"y": "SCORES"}),
        step("c", {"x": "EMBEDDING"}, {"y": "OTHER"}),
        more='parameters {key: "owner" value: {string_value: "vision"}}',
    ),
    "nested": pipeline(
        4,
        [entry("x")],
        [entry("DEEP"), entry("SCORES")],
        step("branch", {"x": "x"}, {"EMBEDDING": "inner", "SCORES": "SCORES"}),
        step("chain", {"x": "inner"}, {"y": "DEEP"}),
    ),
    "twice": pipeline(
        8,
        [entry("x")],
        [entry("y")],
        step("a", {"x": "x"}, {"y": "once"}),
        step("a", {"x": "once"}, {"y": "y"}),
    ),
    "pinned": pipeline(
        8,
        [entry("x")],
        [entry("OLD"), entry("NEW")],
        step("versions", {"x": "x"}, {"y": "OLD"}, version=1),
        step("versions", {"x": "x"}, {"y": "NEW"}),
    ),
    "undefined": pipeline(
        8,
        [entry("x", dims="2")],
        [entry("y", dims="2")],
        step("nan", {"x": "x"}, {"y": "mid"}),
        step("nan", {"x": "mid"}, {"y": "y"}),
    ),
    "words": pipeline(
        8,
        [entry("TEXT", BYTES, "2"), entry("x", INT64, "2")],
        [entry("SAID", BYTES, "2"), entry("COUNT", INT64, "2")],
        step("both", {"x_BYTES": "TEXT", "x_INT64": "x"}, {"y_BYTES": "t", "y_INT64": "COUNT"}),
        step("both", {"x_BYTES": "t", "x_INT64": "COUNT"}, {"y_BYTES": "SAID"}),
    ),
    "whole": pipeline(
        0,
        [entry("x", dims="-1, 4")],
        [entry("y", dims="-1, 4")],
        step("a", {"x": "x"}, {"y": "one"}),
        step("b", {"x": "one"}, {"y": "y"}),
    ),
    "biased": pipeline(
        0,
        [entry("x", dims="2"), entry("BIAS", dims="1", optional=True)],
        [entry("y", dims="2")],
        step("bias", {"x": "x"}, {"y": "one"}),
        step("bias", {"x": "one", "bias": "BIAS"}, {"y": "y"}),
    ),
    "mixture": pipeline(
        0,
        [entry("x", dims="2")],
        [entry("y", dims="-1, 2")],
        step("bias", {"x": "x"}, {"y": "one"}),
        step("nan", {"x": "one"}, {"y": "y"}),
    ),
}
#: Those that ours cannot be.
LEFT_OUT = {"mixture"}
#: Selections of outputs that Triton 2.51 cannot answer: it leaves out the step of an output that is read on
#: if that output is not wanted, or if nobody is left who reads it, and then waits for it.
DEADLOCKS = {
    ("branch", ("EMBEDDING",)),
    ("branch", ("SCORES",)),
    ("branch", ("OTHER",)),
    ("branch", ("SCORES", "OTHER")),
    ("words", ("COUNT",)),
}
FOUR = ("fan", "chain", "branch", "nested", "twice", "pinned", "whole")


def write_models(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in "abc":
        models.write_model(folder, name, models.linear(rng.normal(size=(4, 4))), config=SQUARE)
    for version in (1, 3):
        weights = rng.normal(size=(4, 4))
        config = f"{SQUARE} version_policy {{all {{}}}}"
        models.write_model(folder, "versions", models.linear(weights), version=version, config=config)
    models.write_model(folder, "average", models.mean("pqr", 4), config="max_batch_size: 8")
    models.write_model(folder, "both", models.identity(("BYTES", "INT64")), config="max_batch_size: 8")
    models.write_model(folder, "nan", models.nan(), config="max_batch_size: 8")
    optional = 'max_batch_size: 0 input [{name: "x"}, {name: "bias" optional: true}]'
    return models.write_model(folder, "bias", models.with_default(), config=optional)


def write_ensembles(folder: Path) -> None:
    for name, (_, text) in ENSEMBLES.items():
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(text)


def imported(folder: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "accord.cli", "import", "triton", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class Servers:
    """The real Triton, and two gateways on imported configurations."""

    def __init__(self, triton: grpc.Channel, hosted: grpc.Channel, asking: grpc.Channel, notes: Any) -> None:
        self.triton = triton
        self.hosted = hosted
        self.asking = asking
        self.notes = notes


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Serve one repository by Triton, by our workers, and by a gateway whose models stay at Triton."""
    ensure_installed("triton")
    folder = tmp_path_factory.mktemp("import")
    source = write_models(folder / "models")
    target = for_triton(source, folder / "triton")
    write_ensembles(source)
    write_ensembles(target)
    with serve_triton(target, log=folder / "peer.log", explicit=True, load=sorted(ENSEMBLES)) as triton:
        (folder / "a").mkdir()
        told = imported(folder, "models", "--out", "a/accord.yaml")
        imported(folder, "triton", "--triton", triton.address, "--out", "accord.yaml")
        checked = [sys.executable, "-m", "accord.cli", "check", "a/accord.yaml"]
        subprocess.run(checked, check=True, cwd=folder, capture_output=True)
        (folder / "b").mkdir()
        hosted = serve(folder / "a" / "accord.yaml", folder / "a")
        asking = serve(folder / "accord.yaml", folder / "b", ready=False)
        with (
            grpc.insecure_channel(triton.address) as first,
            grpc.insecure_channel(hosted.address) as second,
            grpc.insecure_channel(asking.listening()) as third,
        ):
            eventually(asking.announce.exists, within_s=60, what="the gateway before Triton is ready")
            yield Servers(first, second, third, told["notes"])
        assert hosted.stop() == 0
        assert asking.stop() == 0


def outputs_of(name: str) -> list[str]:
    return ENSEMBLES[name][0]


def subsets(names: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield no names, which means all, and every selection of them."""
    return chain.from_iterable(combinations(names, size) for size in range(len(names) + 1))


def same(servers: Servers, name: str, inputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Ask all three for every selection of the outputs; return Triton's answer to all of them."""
    tensors = {key: Tensor.from_array(array) for key, array in inputs.items()}
    whole = infer(servers.triton, name, tensors)
    assert set(whole) == set(outputs_of(name))
    for wanted in subsets(outputs_of(name)):
        expected = bits({key: whole[key] for key in wanted or whole})
        if (name, wanted) in DEADLOCKS:
            told = failed(partial(infer, servers.triton, name, tensors, outputs=wanted))
            assert "unexpected deadlock" in told.message
        else:
            assert bits(infer(servers.triton, name, tensors, outputs=wanted)) == expected
        for channel in (servers.hosted, servers.asking):
            assert bits(infer(channel, name, tensors, outputs=wanted)) == expected
    return {key: tensor.array() for key, tensor in whole.items()}


def bits(answer: dict[str, Tensor]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {
        name: (tensor.datatype, tuple(tensor.shape), bytes(tensor.raw)) for name, tensor in answer.items()
    }


@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize("name", FOUR)
def test_answers_are_tritons(servers: Servers, name: str, rows: int) -> None:
    """Every tensor, bit for bit, for one row and several, for all outputs and any of them.

    Where Triton itself fails, ours is held to that part of its whole answer.
    """
    x = np.random.default_rng(rows).normal(size=(rows, 4)).astype(np.float32)
    answer = same(servers, name, {"PIXELS" if name == "fan" else "x": x})
    assert all(array.shape == (rows, 4) and np.isfinite(array).all() for array in answer.values())


def test_versions_differ(servers: Servers) -> None:
    """Else the pinned one would prove nothing."""
    answer = same(servers, "pinned", {"x": np.ones((2, 4), np.float32)})
    assert not np.allclose(answer["OLD"], answer["NEW"])


def test_what_is_no_number_passes(servers: Servers) -> None:
    """Ours would drop such a member; an imported ensemble does as Triton does."""
    assert np.isnan(same(servers, "undefined", {"x": np.ones((2, 2), np.float32)})["y"]).all()


def test_words_pass(servers: Servers) -> None:
    """BYTES along an edge, empty and long ones, and a tensor that is both output and read."""
    words = np.array([[b"", b"one"], ["zwölf".encode(), b"x" * 5000]], object)
    same(servers, "words", {"TEXT": words, "x": np.arange(4).reshape(2, 2)})


def test_an_optional_input_may_be_absent(servers: Servers) -> None:
    """The model then takes its default, on all sides."""
    x = np.array([1, 2], np.float32)
    np.testing.assert_array_equal(same(servers, "biased", {"x": x})["y"], x + 2)
    np.testing.assert_array_equal(
        same(servers, "biased", {"x": x, "BIAS": np.array([5], np.float32)})["y"], x + 6
    )


def test_what_is_not_the_same_is_named(servers: Servers) -> None:
    """Model by model, with its field; nothing else is."""
    assert {(note["model"], note["field"]) for note in servers.notes} == {
        ("mixture", "max_batch_size"),
        ("branch", "parameters"),
        ("nested", "max_batch_size"),
        ("whole", "max_batch_size"),
        ("biased", "ensemble_scheduling.step.input_map"),
    }
    assert {note["model"] for note in servers.notes if note["left_out"]} == LEFT_OUT
    x = {"x": Tensor.from_array(np.zeros(2, np.float32))}
    assert infer(servers.triton, "mixture", x).keys() == {"y"}
    assert failed(lambda: infer(servers.hosted, "mixture", x)).code == "NOT_FOUND"
    assert infer(servers.asking, "mixture", x).keys() == {"y"}


def test_more_rows_are_taken_than_triton_takes(servers: Servers) -> None:
    """What the note on max_batch_size says of the nested ensemble is so."""
    x = {"x": Tensor.from_array(np.zeros((5, 4), np.float32))}
    assert failed(lambda: infer(servers.triton, "nested", x)).code == "INVALID_ARGUMENT"
    assert infer(servers.hosted, "nested", x).keys() == {"DEEP", "SCORES"}


def test_all_models_stay_under_their_own_names(servers: Servers) -> None:
    """As in Triton, also those that are steps."""
    x = {"x": Tensor.from_array(np.ones((1, 4), np.float32))}
    for model in ("a", "b", "c", "versions"):
        assert infer(servers.hosted, model, x)["y"].raw == infer(servers.triton, model, x)["y"].raw


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Unless that is asked for."""
    source = write_models(tmp_path / "models")
    (tmp_path / "accord.yaml").write_text("mine")
    command = [sys.executable, "-m", "accord.cli", "import", "triton", str(source), "--out", "accord.yaml"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (refused.returncode, (tmp_path / "accord.yaml").read_text()) == (1, "mine")
    assert "--force" in refused.stderr
    shutil.rmtree(source / "a")
    assert (
        subprocess.run([*command, "--force"], check=False, cwd=tmp_path, capture_output=True).returncode == 0
    )
