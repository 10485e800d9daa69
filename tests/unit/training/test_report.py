"""From runs to a report: what may be compared is, what may not is refused, the page stands alone."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.unit.training.made_runs import Made, make_run, make_runs
from training.config import load as load_config
from training.data.dataset import Part, Texts
from training.data.load import load as load_data
from training.errors import TrainingError
from training.evaluate import plots
from training.evaluate.findings import Role, Study
from training.evaluate.history import History, series
from training.evaluate.report import Report, as_json, claims, html, pictures, write
from training.evaluate.runs import Evaluated, gather, simple
from training.evaluate.study import compare_models
from training.run import METRICS, PREDICTIONS, write_predictions

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.dataset import Dataset
    from training.evaluate.drawing import Picture


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_runs(tmp_path_factory.mktemp("runs"), seeds=(0, 1))


@pytest.fixture(scope="module")
def found(made: Made) -> Evaluated:
    return gather([made.individual, *made.joint])


@pytest.fixture(scope="module")
def study(found: Evaluated) -> Study:
    models = [*found.models, *simple(found)]
    return compare_models(found.dataset, models, cascades=found.cascades, draws=100)


@pytest.fixture(scope="module")
def report(found: Evaluated, study: Study) -> Report:
    return Report(
        title="Evaluation of <joint>",
        study=study,
        card=found.dataset.card,
        histories=found.histories,
        notes=found.notes,
    )


@pytest.fixture(scope="module")
def drawn(report: Report) -> tuple[Picture, ...]:
    return tuple(pictures(report))


@pytest.fixture(scope="module")
def page(report: Report, drawn: tuple[Picture, ...]) -> str:
    return html(report, drawn)


class _Reader(HTMLParser):
    """Collects tags, addresses and text, and that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        about = dict(attrs)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(about)
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def test_the_joint_model_is_the_reference_wherever_it_stands(found: Evaluated) -> None:
    """Then the individual ones and the variants, each with its role."""
    assert [(model.name, model.role) for model in found.models] == [
        ("joint", Role.JOINT),
        ("individual", Role.INDIVIDUAL),
        *((name, Role.VARIANT) for name in ("bag", "cnn", "int8", "int8-dynamic")),
    ]


def test_runs_of_other_seeds_are_one_model_and_a_note(found: Evaluated) -> None:
    """Their scores stand side by side."""
    assert [len(scores) for scores in found.models[0].scores.values()] == [2, 2, 2]
    assert found.notes == (
        "joint: the mean over 2 runs, seeds 0, 1; curves, confidence, cascades and cost are of the first",
    )


def test_what_a_variant_costs_and_whether_its_rows_are_independent_is_known(found: Evaluated) -> None:
    """The trained model's cost is that of its ONNX file."""
    known = {m.name: (m.cost.ms_8 if m.cost else None, m.independent) for m in found.models}
    assert known["joint"] == (5.6, True)
    assert known["int8-dynamic"] == (2.8, False)
    assert known["individual"] == (None, None)


def test_cheap_variants_stand_before_the_model_that_would_be_served(found: Evaluated) -> None:
    """That is the 8-bit one whose rows are independent."""
    assert found.cascades == (("bag", "int8"), ("cnn", "int8"))


def test_baselines_are_those_that_fit_texts(found: Evaluated) -> None:
    """VADER's rules are for its own corpus."""
    assert {model.name: model.role for model in simple(found)} == {
        "majority": Role.CHANCE,
        "linear": Role.BASELINE,
    }


def test_other_scores_of_the_same_rows_give_other_figures(study: Study) -> None:
    """A smoke alarm: no model is shown another's figures."""
    values = [tuple(v.estimate for v in each.values()) for each in study.tasks[0].values.values()]
    assert len(set(values)) == len(values)


def test_a_run_that_is_not_finished_is_named(made: Made, tmp_path: Path) -> None:
    """With what to do about it."""
    with pytest.raises(TrainingError, match="no finished run"):
        gather([tmp_path])


def test_changed_data_are_refused(tmp_path: Path) -> None:
    """A row that was mended since would be scored by an answer to another text."""
    made = make_runs(tmp_path, rows=200)
    table = tmp_path / "rows.csv"
    table.write_text(table.read_text("utf-8").replace("good", "better", 1), "utf-8")
    with pytest.raises(TrainingError, match=r"joint: the data are not those of the run: inputs changed"):
        gather([made.joint[0]])


def test_predictions_of_other_rows_are_refused(tmp_path: Path) -> None:
    """Rows are compared, not only counted."""
    made = make_runs(tmp_path, rows=200)
    with np.load(made.joint[0] / PREDICTIONS) as file:
        held = dict(file)
    rows = held.pop("rows")
    write_predictions(made.joint[0], rows[::-1].copy(), held)
    with pytest.raises(TrainingError, match="no predictions of these validation and test rows"):
        gather([made.joint[0]])


def test_runs_on_other_test_rows_are_not_compared(made: Made, tmp_path: Path) -> None:
    """They would not see the same draws."""
    other = make_runs(tmp_path, rows=200)
    with pytest.raises(TrainingError, match=r"cannot be compared .* they differ in their validation rows"):
        gather([made.joint[0], other.joint[0]])


def test_a_run_of_some_tasks_is_compared_in_those(made: Made, tmp_path: Path) -> None:
    """The data are the same, though the configuration is not."""
    alone = make_runs(tmp_path, seeds=(5,), tasks="\n  intensity: {kind: regress}\n")
    found = gather([made.joint[0], alone.joint[0]])
    assert [list(model.scores) for model in found.models[:2]] == [
        ["polarity", "intensity", "domain"],
        ["intensity"],
    ]
    names = [model.name for model in found.models]
    assert len(set(names)) == len(names)


def test_a_broken_description_of_a_variant_is_named(tmp_path: Path) -> None:
    """File and remedy."""
    made = make_runs(tmp_path, rows=200)
    about = made.joint[0] / "variants" / "bag" / "variant.json"
    about.write_text("{", "utf-8")
    with pytest.raises(TrainingError, match=r"bag/variant\.json: cannot be read"):
        gather([made.joint[0]])


def _about(folder: Path, **changes: Any) -> None:
    """Change what is said of a variant."""
    path = folder / "variant.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_an_eight_bit_student_is_not_what_would_be_served_without_it(tmp_path: Path) -> None:
    """Students stand before the trained model in eight bits, whatever comes first in the folder."""
    run = make_runs(tmp_path, rows=200).joint[0]
    student = run / "variants" / "bag-int8"
    shutil.copytree(run / "variants" / "bag", student)
    _about(student, name="bag-int8", made_by={"kind": "int8", "of": "bag"})
    assert gather([run]).cascades == (("bag", "int8"), ("bag-int8", "int8"), ("cnn", "int8"))


def test_what_was_made_of_other_weights_is_not_shown(tmp_path: Path) -> None:
    """It is another model's."""
    run = make_runs(tmp_path, rows=200).joint[0]
    for name, weights in (("fp32", "a"), ("int8", "a"), ("bag", "b")):
        _about(run / "variants" / name, made_by={"weights": weights})
    for name in ("cnn", "int8-dynamic"):
        shutil.rmtree(run / "variants" / name)
    found = gather([run])
    assert [model.name for model in found.models] == ["joint", "int8"]
    assert found.notes == ("joint: bag is not shown, because it was made of other weights",)


def test_individual_models_cost_what_all_of_them_cost(tmp_path: Path) -> None:
    """So do their variants; one that was made of some of them only is left out."""
    made = make_runs(tmp_path, rows=200)
    tasks = ("polarity", "intensity", "domain")
    for task in tasks:
        for name in ("fp32", "int8") if task == "domain" else ("fp32", "int8", "bag"):
            folder = made.individual / task / "variants" / name
            shutil.copytree(made.joint[0] / "variants" / name, folder)
            with np.load(folder / PREDICTIONS) as file:
                held = dict(file)
            write_predictions(folder, held["rows"], {task: held[task]})
    shutil.rmtree(made.joint[0] / "variants")
    found = gather([made.joint[0], made.individual])
    assert [model.name for model in found.models] == ["joint", "individual", "int8"]
    _, trained, eight = found.models
    assert trained.cost is not None
    assert trained.cost.ms_8 == pytest.approx(3 * 5.6)
    assert trained.independent is True
    assert list(eight.scores) == sorted(tasks, key=tasks.index)
    assert eight.cost is not None
    assert eight.cost.bytes == 3 * 34e6


def test_variants_of_a_run_with_more_training_rows_are_read(tmp_path: Path) -> None:
    """Its test rows are the same ones, but stand elsewhere."""
    made = make_runs(tmp_path, rows=200)
    config, _ = load_config(made.config)
    rows = load_data(config)
    more = _with_a_training_row_first(rows)
    longer = config.model_copy(update={"data": config.data.model_copy(update={"max_length": 99})})
    make_run(tmp_path / "runs" / "more", longer, more)
    found = gather(
        [made.joint[0], tmp_path / "runs" / "more"],
        data=lambda asked: more if asked.data.max_length == 99 else rows,
    )
    names = [model.name for model in found.models]
    assert {"joint bag", "more bag"} <= set(names)
    assert len(found.models[names.index("more bag")].scores["polarity"][0].test) == len(rows.rows(Part.TEST))


def _with_a_training_row_first(rows: Dataset) -> Dataset:
    assert isinstance(rows.inputs, Texts)

    def first(array: Any, value: Any = 0) -> Any:
        return np.concatenate([np.full_like(array[:1], value), array])

    labels = {
        task: replace(
            each, values=first(each.values), known=first(each.known, value=False), weights=first(each.weights)
        )
        for task, each in rows.labels.items()
    }
    return replace(
        rows,
        inputs=Texts(("one more", *rows.inputs.texts)),
        labels=labels,
        groups=first(rows.groups, rows.groups.max() + 1),
        domains=first(rows.domains),
        parts=first(rows.parts, Part.TRAIN),
    )


@pytest.mark.parametrize("cut", [True, False])
def test_a_variant_whose_predictions_are_gone_is_named(tmp_path: Path, *, cut: bool) -> None:
    """Or cut off."""
    run = make_runs(tmp_path, rows=200).joint[0]
    path = run / "variants" / "bag" / PREDICTIONS
    if cut:
        path.write_bytes(path.read_bytes()[:-99])
    else:
        path.unlink()
    problem = "cannot be read" if cut else "is missing"
    with pytest.raises(TrainingError, match=rf"bag/predictions\.npz: {problem}"):
        gather([run])


def test_the_page_needs_nothing_but_itself(page: str, drawn: tuple[Picture, ...]) -> None:
    """Pictures are inside, with words for those who do not see them; nothing is fetched; names escaped."""
    reader = read(page)
    assert all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert not re.search(r"<script|@import|url\(", page)
    assert len(reader.images) == len(drawn)
    assert all(image["alt"] for image in reader.images)
    assert "<joint>" not in page
    assert "Evaluation of <joint>" in reader.text


def test_the_page_shows_every_picture_and_every_part(page: str, drawn: tuple[Picture, ...]) -> None:
    """What was asked of a report."""
    names = {picture.name for picture in drawn}
    for task in ("domain", "polarity"):
        assert {
            f"difference-{task}",
            f"pareto-{task}",
            f"loss-{task}",
            f"reliability-{task}-joint",
            f"reliability-{task}-individual",
            f"cascade-{task}-bag-int8",
        } <= names
    assert {"weights-joint", "cosines-joint", "pareto-intensity"} <= names
    text = read(page).text
    for part in (
        "Data",
        "Task: polarity",
        "All tasks together",
        "Learning",
        "Confidence",
        "Cost",
        "A cheap model",
    ):
        assert part in text, part


def test_the_page_follows_the_width_of_the_screen(page: str) -> None:
    """Tables scroll in a box of their own, pictures shrink."""
    assert 'name="viewport" content="width=device-width' in page
    assert page.count('<div class="scroll"><table>') == page.count("<table>")
    assert "img{width:100%" in page


def test_what_depends_on_neighbours_is_hollow(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only that: markers are counted by their filling."""
    faces: list[Any] = []
    new = plots.new

    def spied(**options: Any) -> Any:
        figure, axes = new(**options)
        scatter = axes.scatter
        axes.scatter = lambda *a, **k: (faces.append(k["facecolors"]), scatter(*a, **k))[1]  # type: ignore[method-assign]
        return figure, axes

    monkeypatch.setattr(plots, "new", spied)
    picture = plots.pareto(report.study, report.study.tasks[0])
    assert picture is not None
    assert faces.count("white") == 1
    assert len(faces) == 5
    assert "int8-dynamic, batch-dependent" in picture.alt
    assert "hollow" in picture.caption


def test_a_difference_is_claimed_only_where_its_interval_excludes_zero(study: Study) -> None:
    """In every sentence of every task."""
    said = claims(study)
    for task in study.tasks:
        for name, of in task.differences.items():
            if name in ("individual", "linear"):
                apart = of[task.main].excludes_zero
                sentence = next(s for s in said if s.startswith(f"{task.task}: joint ") and f" {name} " in s)
                assert ("cannot be told apart" not in sentence) == apart, sentence


def test_the_json_has_every_figure_and_no_nan(report: Report, tmp_path: Path) -> None:
    """What is undefined is null, with its reason beside it."""
    page = write(report, tmp_path / "out")
    found = json.loads((page.parent / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    tasks = {task["task"]: task for task in found["study"]["tasks"]}
    polarity = report.study.tasks[0]
    assert tasks["polarity"]["values"]["joint"]["auc"]["low"] == polarity.values["joint"]["auc"].low
    assert tasks["intensity"]["values"]["majority"]["pearson"]["estimate"] is None
    assert "all the same" in tasks["intensity"]["undefined"]["majority"]["pearson"]
    assert found == json.loads(json.dumps(as_json(report)))


def test_pictures_lie_beside_the_page_too(report: Report, drawn: tuple[Picture, ...], tmp_path: Path) -> None:
    """As files, for documents; equal findings give equal files."""
    write(report, tmp_path)
    files = {path.stem: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert files == {picture.name: picture.png for picture in drawn}
    assert all(png.startswith(b"\x89PNG") for png in files.values())


def test_a_full_disk_leaves_no_half_page(report: Report, tmp_path: Path) -> None:
    """Where there is no folder to write into, that is said."""
    (tmp_path / "out").write_text("a file in the way", "utf-8")
    with pytest.raises(TrainingError, match="cannot be written"):
        write(report, tmp_path / "out")


def test_one_model_alone_has_a_page(made: Made) -> None:
    """Without baselines, variants or a history."""
    found = gather([made.individual])
    study = compare_models(found.dataset, found.models, draws=20)
    alone = Report(title="alone", study=replace(study, calibrations=()), card=found.dataset.card)
    assert read(html(alone, tuple(pictures(alone)))).text.startswith("alone")
    assert claims(study) == ["Only individual was evaluated."]


def test_an_individual_run_is_known_by_its_parts(made: Made) -> None:
    """As training leaves it: metrics.json lists them."""
    assert json.loads((made.individual / METRICS).read_text("utf-8"))["parts"]


def test_a_history_is_averaged_and_what_is_no_number_left_out() -> None:
    """Losses of single batches jump; a task may be missing from one."""
    lines = [{"step": i, "losses": {"a": float(i % 2)}} for i in range(400)]
    lines.append({"step": 400, "losses": {"a": float("nan"), "b": 1.0}})
    steps, values = series(History("m", lines), "losses", "a")
    assert len(steps) == 40
    assert values == pytest.approx(np.full(40, 0.5))
    assert History("m", lines).names("losses") == ["a", "b"]
    assert len(series(History("m", lines), "validation", "a")[0]) == 0
