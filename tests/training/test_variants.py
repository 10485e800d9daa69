"""What a variant follows from, and what is asked of the trained model but once."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.training import small
from tests.training.small import HEADS
from training.compress import origin as origins
from training.compress import steps, teach
from training.compress.origin import data_hash, origin
from training.compress.scores import raw_scores
from training.compress.steps import make
from training.compress.teach import FILE, taught
from training.compress.trained import Trained
from training.compress.variant import Variant, read, write
from training.compress.variants import compress
from training.config import Distil, Half, Int8, Prune
from training.data import Part, Texts
from training.errors import TrainingError
from training.evaluate.metrics import softmax
from training.export.onnx import to_onnx

if TYPE_CHECKING:
    from pathlib import Path

STEPS = {
    "fp32": None,
    "fp16": Half(kind="fp16"),
    "int8": Int8(kind="int8"),
    "int8-dynamic": Int8(kind="int8", mode="dynamic"),
    "prune": Prune(kind="prune"),
    "cnn": Distil(kind="distil", student="cnn", epochs=1),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A configuration, a data set, a model, and its file as a variant."""
    config = small.config(tmp_path_factory.mktemp("made"))
    rows = small.dataset()
    model = small.model(config, rows)
    onnx = to_onnx(model, HEADS, model.collate(rows, np.arange(3)))
    return config, rows, model, Variant(name="fp32", onnx=onnx, heads=HEADS, facts={})


def trained(made: Any, run: Path, **more: Any) -> tuple[Trained, list[str], list[Any]]:
    """Return a trained model in a run of its own, what will be told, and what will be reported."""
    told: list[str] = []
    reported: list[Any] = []
    given = dict(zip(("config", "dataset", "model"), made, strict=False)) | more
    return Trained(**given, run=run, tell=told.append, report=reported.append), told, reported


def test_the_teacher_is_asked_once(made: Any, tmp_path: Path) -> None:
    """It says what the model says; a second student reads what was kept, and nobody is asked."""
    _, rows, model, file = made
    start, told, reported = trained(made, tmp_path)
    first = taught(start, file)
    assert told == ["asking the teacher about the training rows"]
    assert [(each.phase, each.done) for each in reported][-1] == ("teacher", len(rows.rows(Part.TRAIN)))
    again = taught(start, file)
    assert len(told) == 1
    some = rows.rows(Part.TRAIN)
    raw = raw_scores(model, rows, some)
    for task in ("mood", "strength"):
        np.testing.assert_array_equal(first[task], again[task])
        assert len(first[task]) == len(rows)
    np.testing.assert_allclose(softmax(first["mood"][some]), softmax(raw["mood"]), atol=1e-5)
    np.testing.assert_allclose(first["strength"][some], raw["strength"], rtol=1e-4, atol=1e-4)


def test_what_another_teacher_said_is_not_taken(made: Any, tmp_path: Path) -> None:
    """Nor what was said of other rows, nor what is cut off."""
    _, rows, model, file = made
    start, told, _ = trained(made, tmp_path)
    first = taught(start, file)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.heads.parameters():
            parameter.mul_(1.5)
    onnx = to_onnx(other, HEADS, other.collate(rows, np.arange(3)))
    assert not np.allclose(taught(start, replace(file, onnx=onnx))["mood"], first["mood"])
    assert len(told) == 2

    texts = (rows.inputs.texts[1], *rows.inputs.texts[1:])
    changed, told, _ = trained(made, tmp_path, dataset=replace(rows, inputs=Texts(texts)))
    taught(changed, replace(file, onnx=onnx))
    assert len(told) == 1

    kept = taught(changed, replace(file, onnx=onnx))
    assert len(told) == 1
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-7])
    again = taught(changed, replace(file, onnx=onnx))
    assert len(told) == 2
    for task in ("mood", "strength"):
        np.testing.assert_array_equal(again[task], kept[task])


def test_a_teacher_that_never_errs_still_tells_classes_apart(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its temperature is at the bound, so its file says 0 and 1: the scores behind them are lost there."""
    _, rows, model, _ = made
    heads = (replace(HEADS[0], temperature=0.02), HEADS[1])
    cold = Variant(
        name="fp32", onnx=to_onnx(model, heads, model.collate(rows, np.arange(3))), heads=heads, facts={}
    )
    some = rows.rows(Part.TRAIN)
    wanted = softmax(raw_scores(model, rows, some)["mood"])
    start, _, _ = trained(made, tmp_path)
    np.testing.assert_allclose(softmax(taught(start, cold)["mood"][some]), wanted, atol=1e-5)
    (tmp_path / FILE).unlink()
    monkeypatch.setattr(teach, "_COLD", 0.0)
    assert np.abs(softmax(taught(start, cold)["mood"][some]) - wanted).max() > 0.2


def test_a_student_follows_the_seed_and_not_what_was_done_before(made: Any, tmp_path: Path) -> None:
    """Its random weights too."""
    config, _, model, file = made
    found = []
    for state, seed in ((1, 0), (2, 0), (2, 5)):
        seeded = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
        start, _, _ = trained(made, tmp_path, config=seeded)
        torch.manual_seed(state)
        found.append(make(STEPS["cnn"], start, file, model, file).onnx)
    assert found[0] == found[1]
    assert found[1] != found[2]


def _changed(config: Any, section: str, **values: Any) -> Any:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (lambda c: _changed(c, "train", seed=1), {"int8", "prune", "cnn"}),
        (lambda c: _changed(c, "train", dropout=0.3), {"prune", "cnn"}),
        (lambda c: _changed(c, "train", precision="fp32"), {"prune", "cnn"}),
        (
            lambda c: _changed(
                c, "train", optimizer=c.train.optimizer.model_copy(update={"weight_decay": 0.1})
            ),
            {"prune", "cnn"},
        ),
        (
            lambda c: c.model_copy(
                update={"tasks": c.tasks | {"mood": c.tasks["mood"].model_copy(update={"alpha": 0.5})}}
            ),
            {"prune", "cnn"},
        ),
        (lambda c: _changed(c, "train", threads=2, checkpoint_every=7), set()),
    ],
    ids=["seed", "dropout", "precision", "weight decay", "alpha", "threads"],
)
def test_what_a_step_follows_from_makes_it_anew(tmp_path: Path, change: Any, anew: set[str]) -> None:
    """And nothing else does."""
    config = small.config(tmp_path)
    before, after = (
        {name: origin(step, c, weights="w", data="r", source="s") for name, step in STEPS.items()}
        for c in (config, change(config))
    )
    assert {name for name in STEPS if before[name] != after[name]} == anew


def test_weights_rows_source_and_versions_make_every_step_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the trained model itself too, which starts from no file."""
    config = small.config(tmp_path)
    same = {"weights": "w", "data": "r", "source": "s"}
    before = {name: origin(step, config, **same) for name, step in STEPS.items()}
    for other in ({"weights": "v"}, {"data": "q"}):
        assert all(origin(step, config, **same | other) != before[name] for name, step in STEPS.items())
    assert origin(STEPS["int8"], config, **same | {"source": "t"}) != before["int8"]
    monkeypatch.setattr(origins, "version", lambda _: "0")
    assert all(origin(step, config, **same) != before[name] for name, step in STEPS.items())


def test_rows_are_other_rows_where_a_label_or_a_part_is_another(made: Any) -> None:
    """But not where only what stands for an unknown label is."""
    _, rows, model, _ = made
    mood = rows.labels["mood"]

    def hashed(**changes: Any) -> str:
        labels = rows.labels | {"mood": replace(mood, **changes)}
        return data_hash(model, replace(rows, labels=labels))

    def other(array: Any, value: Any) -> Any:
        changed = array.copy()
        changed[0] = value
        return changed

    values = other(mood.values, (mood.values[0] + 1) % 3)
    before, unknown = data_hash(model, rows), other(mood.known, value=False)
    assert hashed() == before
    assert len({before, hashed(values=values), hashed(known=unknown), hashed(weights=mood.weights * 2)}) == 4
    assert hashed(values=values, known=unknown) == hashed(known=unknown)
    assert hashed(classes=mood.classes[::-1]) != before
    assert data_hash(model, replace(rows, parts=other(rows.parts, (rows.parts[0] + 1) % 3))) != before


def test_another_version_of_a_library_makes_the_variants_anew(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that finds all there does nothing; each long step tells how far it is."""
    _, rows, model, _ = made
    config = small.config(tmp_path, compress=[{"kind": "fp16"}])
    told: list[str] = []
    reported: list[Any] = []
    compress(config, rows, model, tmp_path, tell=told.append, report=reported.append)
    ends = {each.phase: (each.done, each.total) for each in reported}
    for name in ("fp32", "fp16"):
        measured = len(rows.rows(Part.VALIDATION)) + len(rows.rows(Part.TEST))
        assert ends[f"{name}: scores"] == (measured, measured)
        done, total = ends[f"{name}: alone and among others"]
        assert done == total > len(rows.rows(Part.VALIDATION))
    before = len(told)
    compress(config, rows, model, tmp_path, tell=told.append)
    assert len(told) == before
    known = origins.version
    monkeypatch.setattr(origins, "version", lambda name: "0" if name == "onnx" else known(name))
    compress(config, rows, model, tmp_path, tell=told.append)
    assert told[before:] == [
        f"{name}: {what} it" for name in ("fp32", "fp16") for what in ("making", "measuring")
    ]


def test_what_is_cut_is_judged_on_rows_of_all_sources(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that come first may be of one."""
    _, rows, model, file = made
    seen: list[Any] = []
    monkeypatch.setattr(steps, "_PRUNE_ROWS", 64)
    monkeypatch.setattr(steps, "prune", lambda model, _, batches, __: seen.extend(batches) or model)
    start, _, _ = trained(made, tmp_path)
    make(Prune(kind="prune", steps=0), start, file, model, file)
    tokens = {tuple(ids[ids != 0].tolist()) for batch in seen for ids in batch["input_ids"]}
    train = rows.rows(Part.TRAIN)
    late = model.collate(rows, train[len(train) // 2 :])["input_ids"]
    assert 16 < len(tokens & {tuple(ids[ids != 0].tolist()) for ids in late}) < 48


def test_what_overflows_is_refused_and_not_kept(made: Any, tmp_path: Path) -> None:
    """Sixteen bits end at 65504."""
    config, rows, model, _ = made
    large = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in large.heads.named_parameters():
            if "strength" in name:
                parameter.mul_(1e5)
    config = small.config(tmp_path, compress=[{"kind": "fp16"}])
    with pytest.raises(
        TrainingError, match=r"variant 'fp16': answers \d+ of \d+ rows of task 'strength' with"
    ):
        compress(config, rows, large, tmp_path)
    assert [path.name for path in (tmp_path / "variants").iterdir()] == ["fp32"]


def test_a_file_alone_is_not_trained_on(made: Any, tmp_path: Path) -> None:
    _, _, _, file = made
    start, _, _ = trained(made, tmp_path)
    source = replace(file, name="it")
    with pytest.raises(TrainingError, match=r"of: it: is there only as a file.*start from fp32, or from a"):
        make(STEPS["cnn"], start, source, None, file)


def test_a_chain_goes_on_behind_what_is_kept(made: Any, tmp_path: Path) -> None:
    """A student that was cut short has its teacher's weights again, which were kept as a file only."""
    _, rows, model, _ = made
    cut = {"kind": "prune", "steps": 2}
    chain = [cut, {"kind": "distil", "student": "layers", "layers": 1, "epochs": 1, "of": "prune"}]
    one = small.config(tmp_path, compress=[cut])
    (_, before) = compress(one, rows, model, tmp_path)
    told: list[str] = []
    whole = small.config(tmp_path, compress=chain)
    found = compress(whole, rows, model, tmp_path, tell=told.append)
    assert [variant.name for variant in found] == ["fp32", "prune", "prune-layers"]
    assert found[1].onnx == before.onnx
    made_now = [line for line in told if line.endswith("making it")]
    assert made_now == ["prune: making it", "prune-layers: making it"]
    told.clear()
    compress(whole, rows, model, tmp_path, tell=told.append)
    assert not told


def test_a_description_that_lacks_something_is_named(made: Any, tmp_path: Path) -> None:
    """As is one that is no object, and a file that is not there."""
    _, _, _, file = made
    write(tmp_path, file, {"rows": np.arange(2)})
    folder = tmp_path / "variants" / "fp32"
    for text in ("{}", "[]", '{"onnx_sha256": "", "tasks": {"mood": {"kind": "guess"}}}'):
        (folder / "variant.json").write_text(text)
        with pytest.raises(TrainingError, match=r"variant\.json: cannot be read .* accord compress"):
            read(tmp_path, "fp32")
    whole = {"made_by": {}, "bytes": 1, "ms_1": 1.0, "ms_8": 1.0, "invariance": {}, "metrics": {}}
    (folder / "variant.json").write_text(json.dumps({**whole, "onnx_sha256": "", "tasks": {}}))
    (folder / "model.onnx").unlink()
    with pytest.raises(TrainingError, match=r"model\.onnx: is missing; remove its folder"):
        read(tmp_path, "fp32")
    (folder / "variant.json").unlink()
    with pytest.raises(TrainingError, match="holds no variant"):
        read(tmp_path, "fp32")
