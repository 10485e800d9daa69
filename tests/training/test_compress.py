"""Variants: what they keep, what they break, and what is said of it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tests.training import small
from tests.training.small import HEADS
from training.compress import steps
from training.compress.half import half
from training.compress.invariance import invariance
from training.compress.measure import cost
from training.compress.prune import prune
from training.compress.quantise import dynamic, prepare
from training.compress.scores import feed_of, scores_by_task
from training.compress.students import student
from training.compress.variant import read
from training.compress.variants import compress
from training.data import Part
from training.errors import TrainingError
from training.export.onnx import check_parity, to_onnx

if TYPE_CHECKING:
    from pathlib import Path

    from tests.training.small import Made


def test_static_eight_bits_answer_a_row_alike_alone_and_among_others(made: Made) -> None:
    """Whichever nodes stay in fp32; and the answers are not the fp32 file's, so something was quantised."""
    rows, model, file = made
    feed, some = feed_of(model, rows), rows.rows(Part.VALIDATION)
    static = prepare(file, feed, rows.rows(Part.TRAIN))
    for kept in (0, 4, len(static.worst) - 1):
        quantised = static.quantised(kept)
        found = invariance(quantised, feed, some)
        assert found.same, found
        nodes = [node.op_type for node in onnx.load_from_string(quantised).graph.node]
        assert nodes.count("QuantizeLinear") > 0
        assert len(quantised) < len(file)
    scores = [
        scores_by_task(each, HEADS, model, rows, some)["strength"] for each in (file, static.quantised(0))
    ]
    assert 1e-4 < np.abs(scores[0] - scores[1]).max() < 0.5


def test_dynamic_eight_bits_do_not(made: Made) -> None:
    """Their ranges are the batch's: this is what the check is for."""
    rows, model, file = made
    found = invariance(dynamic(file), feed_of(model, rows), rows.rows(Part.VALIDATION))
    assert not found.same
    assert found.worst > 1e-4


def test_fewer_nodes_in_eight_bits_lose_less(made: Made) -> None:
    """The worst first: the error falls as more of them stay fp32, and is gone with all."""
    rows, model, file = made
    some = rows.rows(Part.VALIDATION)
    static = prepare(file, feed_of(model, rows), rows.rows(Part.TRAIN))
    wanted = scores_by_task(file, HEADS, model, rows, some)["mood"]
    count = len(static.worst)

    def error(kept: int) -> float:
        found = scores_by_task(static.quantised(kept), HEADS, model, rows, some)["mood"]
        return float(np.abs(found - wanted).mean())

    assert error(count - 1) < error(0)
    assert next(static.tries()) == 0
    assert max(static.tries()) < count


def test_tables_of_embeddings_become_bytes(made: Made) -> None:
    """Each row by its own scale, so within a 254th of its largest value."""
    _, _, file = made
    before = {each.name: each for each in onnx.load_from_string(file).graph.initializer}
    after = onnx.load_from_string(dynamic(file)).graph.initializer
    bytes_of = {each.name: onnx.numpy_helper.to_array(each) for each in after if "/" in each.name}
    tables = {name.removesuffix("/bytes") for name in bytes_of if name.endswith("/bytes")}
    assert tables
    for name in tables:
        values = onnx.numpy_helper.to_array(before[name])
        scales = bytes_of[f"{name}/scales"]
        error = np.abs(bytes_of[f"{name}/bytes"] * scales - values)
        assert (error <= scales / 2 + 1e-7).all()


def test_half_precision_is_half_the_size(made: Made) -> None:
    """And answers nearly the same."""
    rows, model, file = made
    some = rows.rows(Part.VALIDATION)
    small_file = half(file)
    weights = [
        sum(
            onnx.numpy_helper.to_array(each).nbytes
            for each in onnx.load_from_string(content).graph.initializer
        )
        for content in (file, small_file)
    ]
    assert weights[1] < 0.55 * weights[0]
    wanted, found = (
        scores_by_task(each, HEADS, model, rows, some)["strength"] for each in (file, small_file)
    )
    assert np.abs(wanted - found).max() < 0.05


def test_pruning_cuts_what_is_used_least(made: Made) -> None:
    """Units that never fire go first: cutting them changes nothing, and the matrices are smaller."""
    rows, model, _ = made
    broken = copy.deepcopy(model)
    blocks = [module for module in broken.modules() if hasattr(module, "intermediate")]
    for block in blocks:
        dense = block.intermediate.dense
        with torch.no_grad():
            # gelu of a very negative number is 0
            dense.weight[::2] = 0
            dense.bias[::2] = -50
    batch = broken.collate(rows, np.arange(20))
    called: list[nn.Module] = []
    narrow = prune(broken, 0.5, [batch], called.append)
    assert called == [narrow]
    assert all(
        block.intermediate.dense.out_features == 64
        for block in narrow.modules()
        if hasattr(block, "intermediate")
    )
    for task, scores in broken(batch).items():
        torch.testing.assert_close(narrow(batch)[task], scores, rtol=1e-4, atol=1e-5)
    file = to_onnx(narrow, HEADS, batch)
    check_parity(narrow, HEADS, file, lambda some: narrow.collate(rows, some), rows.rows(Part.VALIDATION))


def test_padding_has_no_say_in_what_is_cut(made: Made) -> None:
    """Rows padded to the longest choose the same units as rows alone, though padding activates units too."""
    rows, model, _ = made
    some = rows.rows(Part.TRAIN)[:24]
    together = prune(model, 0.5, [model.collate(rows, some)], lambda _: None)
    alone = prune(model, 0.5, [model.collate(rows, some[i : i + 1]) for i in range(24)], lambda _: None)
    for first, second in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(first, second)


def test_pruning_without_dense_blocks_is_refused(made: Made) -> None:
    """With what to do instead."""
    _, model, _ = made
    with pytest.raises(TrainingError, match="no dense blocks to cut"):
        prune(student(model, "bag"), 0.5, [], lambda _: None)


@pytest.mark.parametrize("kind", ["layers", "cnn", "bag"])
def test_students_export_and_answer_alike_alone_and_among_others(made: Made, kind: Any) -> None:
    """From the same tokens as their teacher; padding has no say."""
    rows, model, file = made
    pupil = student(model, kind, layers=2, width=16).eval()
    feed, some = feed_of(pupil, rows), rows.rows(Part.VALIDATION)
    made_file = to_onnx(pupil, HEADS, pupil.collate(rows, np.arange(3)))
    check_parity(pupil, HEADS, made_file, lambda batch: pupil.collate(rows, batch), some)
    assert invariance(made_file, feed, some).same
    assert cost(made_file, feed, some).ms_8 < cost(file, feed, some).ms_8


def test_a_student_of_layers_keeps_the_first_and_the_last(made: Made) -> None:
    """With their weights; and cannot have as many as its teacher."""
    _, model, _ = made
    pupil = student(model, "layers", layers=2)
    for old, new in ((0, 0), (2, 1)):
        theirs, own = model.encoder.layers[old].state_dict(), pupil.encoder.layers[new].state_dict()
        assert all(torch.equal(theirs[name], own[name]) for name in theirs)
    with pytest.raises(
        TrainingError, match=r"a student of 3 layers cannot be cut out of 3; say 1 to 2 layers"
    ):
        student(model, "layers", layers=3)


STEPS = [
    {"kind": "int8", "max_loss_pt": 100},
    {"kind": "int8", "mode": "dynamic"},
    {"kind": "distil", "student": "bag", "width": 16, "epochs": 4, "lr": 0.01},
    {"kind": "int8", "of": "bag"},
]


def test_variants_are_measured_and_kept(made: Made, tmp_path: Path) -> None:
    """Each with size, time, metrics and invariance; a second call finds them; a changed file is refused.

    What takes long says how far it is, to its end.
    """
    rows, model, _ = made
    config = small.config(tmp_path, compress=STEPS)
    told: list[str] = []
    ends: dict[str, Any] = {}
    found = compress(
        config, rows, model, tmp_path, tell=told.append, report=lambda each: ends.update({each.phase: each})
    )
    assert {"temperatures", "ranges", "validation, 0 nodes in fp32", "teacher", "training"} <= ends.keys()
    assert all(each.done == each.total for phase, each in ends.items() if phase != "answering")
    assert [each.name for each in found] == ["fp32", "int8", "int8-dynamic", "bag", "bag-int8"]
    # a bag has no products, but its tables become bytes
    assert len(found[4].onnx) < len(found[3].onnx) / 2
    for each in found:
        assert each.facts["bytes"] == len(each.onnx)
        assert each.facts["ms_1"] > 0
        assert set(each.facts["metrics"]["test"]) == {"mood", "strength"}
        assert each.facts["invariance"]["same"] == (each.name != "int8-dynamic")
        with np.load(tmp_path / "variants" / each.name / "predictions.npz") as file:
            assert file["mood"].shape == (len(file["rows"]), 3)
    told.clear()
    again = compress(config, rows, model, tmp_path, tell=told.append)
    assert told == []
    assert [each.onnx for each in again] == [each.onnx for each in found]
    path = tmp_path / "variants" / "bag" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(TrainingError, match="is not the file whose parity"):
        read(tmp_path, "bag")


def test_other_weights_make_the_variants_again(made: Made, tmp_path: Path) -> None:
    """Those that follow from them too."""
    rows, model, _ = made
    config = small.config(tmp_path, compress=STEPS[:1])
    first = compress(config, rows, model, tmp_path)
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(iter(other.parameters())).mul_(1.5)
    second = compress(config, rows, other, tmp_path)
    assert all(a.onnx != b.onnx for a, b in zip(first, second, strict=True))


def test_more_loss_than_allowed_is_an_error_that_leaves_no_variant(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all choices were tried, it says how near the best came."""
    rows, model, _ = made
    monkeypatch.setattr(steps, "lost_pt", lambda *_: {"mood": 7.5})
    with pytest.raises(TrainingError, match=r"loses at most 1 points on validation; the best loses 7\.50"):
        compress(small.config(tmp_path, compress=[STEPS[0] | {"max_loss_pt": 1}]), rows, model, tmp_path)
    assert [path.name for path in (tmp_path / "variants").iterdir()] == ["fp32"]
    assert json.loads((tmp_path / "variants" / "fp32" / "variant.json").read_text())["name"] == "fp32"


def test_what_a_student_has_lost_is_not_held_against_its_quantisation(made: Made, tmp_path: Path) -> None:
    """A student that was hardly trained loses far more than a point; its eight bits hardly any of that."""
    rows, model, _ = made
    pupil = {"kind": "distil", "student": "bag", "width": 16, "epochs": 1, "lr": 1e-6}
    wanted = [pupil, {"kind": "int8", "of": "bag", "max_loss_pt": 1}]
    _, bag, quantised = compress(small.config(tmp_path, compress=wanted), rows, model, tmp_path)
    assert max(bag.facts["lost_pt"].values()) > 2
    assert max(quantised.facts["lost_pt"].values()) > 2, "the card says what is lost of the trained model"


def test_a_bag_learns_from_its_teacher(tmp_path: Path) -> None:
    """What it says is then near what the teacher says, though no label was looked at."""
    rows = small.dataset(400)
    model = small.model(small.config(tmp_path), rows)
    step = {
        "kind": "distil",
        "student": "bag",
        "width": 16,
        "epochs": 20,
        "lr": 0.03,
        "share": 1.0,
        "temperature": 1.0,
    }
    fp32, bag = compress(small.config(tmp_path, compress=[step]), rows, model, tmp_path)
    some = rows.rows(Part.VALIDATION)
    wanted, found = (
        scores_by_task(each.onnx, each.heads, model, rows, some)["strength"] for each in (fp32, bag)
    )
    assert np.corrcoef(wanted, found)[0, 1] > 0.5
