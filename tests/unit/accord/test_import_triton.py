"""What an import makes of a Triton repository: entries, notes, and refusals with the exact place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import text_format

from accord.importing.departures import MAX_MEMBERS
from accord.importing.document import write
from accord.importing.fields import FIELDS, Fate, entry_of
from accord.importing.repository import declared, read
from accord.importing.translate import translate
from accord.importing.values import BrokenGraphs, Found, Note
from gateway.config import load
from gateway.config.schema import Ensemble
from protos.oip import model_config
from tests import models
from tests.unit.workers.test_model_fields import leaves
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TENSOR = '{{name: "{}" data_type: TYPE_FP32 dims: [4]}}'
MODEL = f"max_batch_size: 8 input [{TENSOR.format('x')}] output [{TENSOR.format('y')}]"
TRITON = "10.0.0.7:8001"


def found(name: str, text: str, **about: Any) -> Found:
    config = text_format.Parse(text, model_config.ModelConfig(name=name))
    return Found(name=name, config=config, spec=declared(config), **about)


def ensemble(
    *steps: str, inputs: str = TENSOR.format("in"), outputs: str = TENSOR.format("out"), more: str = ""
) -> str:
    head = f'platform: "ensemble" max_batch_size: 8 input [{inputs}] output [{outputs}] {more}'
    return f"{head} ensemble_scheduling {{step [{', '.join(steps)}]}}"


def step(model: str, reads: str, writes: str, *, version: int = -1, own: str = "x", gives: str = "y") -> str:
    maps = f'input_map {{key: "{own}" value: "{reads}"}} output_map {{key: "{gives}" value: "{writes}"}}'
    return f'{{model_name: "{model}" model_version: {version} {maps}}}'


CHAIN = (step("a", "in", "mid"), step("b", "mid", "out"))


def repository(text: str = "", **others: Found) -> dict[str, Found]:
    these = {"a": found("a", MODEL), "b": found("b", MODEL), **others}
    return these | ({"e": found("e", text)} if text else {})


def notes(models: Mapping[str, Found], **options: Any) -> list[Note]:
    return list(translate(models, folder="models", **options).notes)


def test_a_chain_is_two_members_and_an_edge() -> None:
    """Outputs stand on who returns them, edges on who reads."""
    imported = translate(repository(ensemble(*CHAIN)), folder="models")
    assert imported.models == {name: {"worker": {"repository": "models"}} for name in "ab"}
    assert imported.ensembles["e"] == {
        "strategy": {"kind": "tasks", "prefix": False},
        "nonfinite": "pass",
        "members": [
            {"model": "a", "inputs": {"x": "in"}},
            {"model": "b", "inputs": {"x": {"member": "a", "output": "y"}}, "outputs": {"out": "y"}},
        ],
    }
    assert imported.notes == ()


def test_what_is_returned_and_read_counts() -> None:
    """It is both the ensemble's output and another member's input."""
    both = f"{TENSOR.format('mid')}, {TENSOR.format('out')}"
    first, second = translate(repository(ensemble(*CHAIN, outputs=both)), folder="m").ensembles["e"][
        "members"
    ]
    assert (first["counts"], first["outputs"]) == (True, {"mid": "y"})
    assert "counts" not in second


def test_a_model_that_is_used_twice_has_two_seats() -> None:
    """And none takes the name that another model's seat has."""
    steps = (
        step("a", "in", "one"),
        step("a", "one", "two"),
        step("a-2", "two", "three"),
        step("a.2", "three", "out"),
    )
    models = repository(ensemble(*steps), **{name: found(name, MODEL) for name in ("a-2", "a.2")})
    members = translate(models, folder="models").ensembles["e"]["members"]
    assert [member.get("name", member["model"]) for member in members] == ["a", "a-3", "a-2", "a-2-2"]


def test_a_pinned_version_is_a_model_of_its_own() -> None:
    """It is not served under its own name, because Triton serves it as a version of the other."""
    versions = {"a": found("a", MODEL, versions=("1", "3"))}
    models = repository(ensemble(step("a", "in", "mid", version=1), step("a", "mid", "out"))) | versions
    imported = translate(models, folder="models")
    pinned = {"repository": "models", "model": "a", "version": "1"}
    assert imported.models["a-1"] == {"worker": pinned, "expose": False}
    assert [member["model"] for member in imported.ensembles["e"]["members"]] == ["a-1", "a"]


def test_an_ensemble_in_an_ensemble_is_one_member() -> None:
    """Under the name that it has."""
    outer = found("f", ensemble(step("e", "in", "out", own="in", gives="out")))
    members = translate(repository(ensemble(*CHAIN), f=outer), folder="models").ensembles["f"]["members"]
    assert members == [{"ensemble": "e", "outputs": {"out": "out"}}]


def test_optional_inputs_are_named_as_such() -> None:
    """Where the model can do without, nothing else is to be said."""
    optional = TENSOR.format("in")[:-1] + " optional: true}"
    model = found("a", MODEL.replace("dims: [4]}] output", "dims: [4] optional: true}] output"))
    models = repository(ensemble(step("a", "in", "out"), inputs=optional)) | {"a": model}
    imported = translate(models, folder="models")
    assert imported.ensembles["e"]["optional_inputs"] == ["in"]
    assert imported.notes == ()
    strict = repository(ensemble(step("a", "in", "out"), inputs=optional))
    assert [note.field for note in notes(strict)] == ["input.optional"]


def test_what_no_worker_hosts_is_asked_at_triton_or_left_out() -> None:
    """With it goes every ensemble that needs it; one whose models are all there stays."""
    other = found("b", MODEL, unfit="its backend is 'python'")
    outer = found("f", ensemble(step("e", "in", "out", own="in", gives="out")))
    single = found("g", ensemble(step("a", "in", "out")))
    models = {**repository(ensemble(*CHAIN), f=outer, g=single), "b": other}
    assert [(n.model, n.left_out) for n in notes(models)] == [("b", True), ("e", True), ("f", True)]
    assert list(translate(models, folder="models").ensembles) == ["g"]
    asked = translate(models, folder="models", triton=TRITON)
    assert asked.models["b"] == {"oip": {"targets": [TRITON]}}
    assert set(asked.ensembles) == {"e", "f", "g"}
    assert [(n.model, n.left_out) for n in asked.notes] == [("b", False)]


@pytest.mark.parametrize("policy", ["model_transaction_policy {decoupled: true}", "sequence_batching {}"])
def test_what_has_no_single_answer_is_left_out_even_then(policy: str) -> None:
    """Neither the model nor an ensemble of it is asked at Triton, since that would not work either."""
    models = repository(ensemble(*CHAIN)) | {"b": found("b", f"{MODEL} {policy}", unfit="it is refused")}
    left = [n for n in notes(models, triton=TRITON) if n.left_out]
    assert [note.model for note in left] == ["b", "e"]
    assert left[0].field == policy.partition(" {")[0] + ".decoupled" * ("decoupled" in policy)


def wide(count: int) -> str:
    steps = [step("a", "in", f"t{i}") for i in range(count)]
    return ensemble(*steps, outputs=", ".join(TENSOR.format(f"t{i}") for i in range(count)))


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        pytest.param(wide(MAX_MEMBERS + 1), "ensemble_scheduling.step", "64 steps", id="too many steps"),
        pytest.param(
            ensemble(step("c", "in", "mid"), step("b", "mid", "out")),
            "max_batch_size",
            "batch",
            id="mixed batching",
        ),
        pytest.param(
            ensemble(step("a", "in", "out"), outputs=f"{TENSOR.format('out')}, {TENSOR.format('in')}"),
            "output",
            "'in' is input and output at once",
            id="passed through",
        ),
        pytest.param(
            ensemble(
                step("o", "in", "mid"),
                step("a", "bias", "out"),
                step("a", "mid", "end"),
                inputs=f"{TENSOR.format('in')}, {TENSOR.format('bias')}",
                outputs=f"{TENSOR.format('out')}, {TENSOR.format('end')}",
            ),
            "ensemble_scheduling.step.input_map",
            "would get the request's 'bias'",
            id="unmapped optional input",
        ),
        pytest.param(
            ensemble(*CHAIN, inputs=TENSOR.format("in")[:-1] + " reshape {shape: [2, 2]}}"),
            "input.reshape",
            "shape",
            id="reshape",
        ),
    ],
)
def test_what_an_ensemble_cannot_be_here_leaves_it_out(text: str, field: str, words: str) -> None:
    """Or has it asked at Triton as a whole, as if it were a model."""
    flat = MODEL.replace("max_batch_size: 8", "").replace("dims: [4]", "dims: [-1, 4]")
    optional = MODEL.replace(
        "}] output", '}, {name: "bias" data_type: TYPE_FP32 dims: [4] optional: true}] output'
    )
    models = repository(text, c=found("c", flat), o=found("o", optional))
    (note,) = [n for n in notes(models) if n.left_out]
    assert (note.model, note.field) == ("e", field)
    assert words in note.meaning
    assert translate(models, folder="models", triton=TRITON).models["e"] == {"oip": {"targets": [TRITON]}}


def test_the_schema_has_as_many_members() -> None:
    """One more would be refused when the file is read."""
    lengths = [
        rule.max_length for rule in Ensemble.model_fields["members"].metadata if hasattr(rule, "max_length")
    ]
    assert lengths.count(MAX_MEMBERS) == 1


LOST = {
    "response_cache.enable": "response_cache {enable: true}",
    "metric_tags": 'metric_tags {key: "team" value: "vision"}',
    "parameters": 'parameters {key: "p" value: {string_value: "v"}}',
    "model_warmup": "model_warmup {batch_size: 1}",
    "instance_group": "instance_group {count: 2}",
    "output.label_filename": "",
}


@pytest.mark.parametrize("field", LOST)
def test_what_is_lost_is_named_and_the_ensemble_goes_on(field: str, tmp_path: Path) -> None:
    """In the notes, and in the file above the ensemble."""
    labelled = TENSOR.format("out")[:-1] + ' label_filename: "labels.txt"}'
    outputs = labelled if field.startswith("output") else TENSOR.format("out")
    imported = translate(
        repository(ensemble(*CHAIN, outputs=outputs, more=LOST[field])), folder=str(tmp_path)
    )
    (note,) = imported.notes
    assert field.startswith(note.field)
    assert (note.model, note.left_out) == ("e", False)
    text = write(imported, "models")
    above, _, _ = text.partition("\n  e:\n")
    assert note.field in above.rpartition("ensembles:")[2]
    (tmp_path / "accord.yaml").write_text(text)
    assert "e" in load(tmp_path / "accord.yaml")[0].ensembles


def test_limits_that_its_models_do_not_share_are_named() -> None:
    """Fewer rows than its models take; no rows at all where they have them."""
    small = ensemble(*CHAIN).replace("max_batch_size: 8", "max_batch_size: 4")
    assert ["more than 4 rows, up to 8," in note.meaning for note in notes(repository(small))] == [True]
    flat = small.replace("max_batch_size: 4", "").replace("dims: [4]", "dims: [-1, 4]")
    assert ["any number of rows up to 8" in note.meaning for note in notes(repository(flat))] == [True]


BROKEN = {
    "no step writes it": (
        ensemble(step("a", "in", "mid"), step("b", "midd", "out")),
        "tensor 'midd'",
        "did you mean 'mid'?",
    ),
    "written twice": (
        ensemble(step("a", "in", "out"), step("b", "in", "out")),
        "tensor 'out'",
        "by step 1 (a), output 'y' and by step 2 (b), output 'y'",
    ),
    "written over the request": (
        ensemble(step("a", "in", "in"), step("b", "in", "out")),
        "tensor 'in'",
        "by the request",
    ),
    "no output": (
        ensemble(step("a", "in", "mid")),
        "tensor 'out'",
        "the ensemble's output reads it, but no step",
    ),
    "unused output": (
        ensemble(step("a", "in", "out"), step("b", "in", "mid")),
        "tensor 'mid'",
        "step 2 (b), output 'y' brings it, but no step reads it",
    ),
    "unused input": (
        ensemble(step("a", "in", "out"), inputs=f"{TENSOR.format('in')}, {TENSOR.format('other')}"),
        "tensor 'other'",
        "the request brings it",
    ),
    "cycle": (
        ensemble(step("a", "two", "one"), step("b", "one", "two"), step("a", "in", "out")),
        "ensemble_scheduling",
        "step 1 (a) -> step 2 (b) -> step 1 (a)",
    ),
    "unknown model": (
        ensemble(step("aa", "in", "out")),
        "step 1 (aa), model_name",
        "there is no model 'aa' in the repository; did you mean 'a'?",
    ),
    "version": (
        ensemble(step("a", "in", "out", version=2)),
        "step 1 (a), model_version",
        "version 2 of 'a' is not served: there are 1",
    ),
    "version 0": (ensemble(step("a", "in", "out", version=0)), "step 1 (a), model_version", "and -1"),
    "unknown input": (
        ensemble(step("a", "in", "out", own="z")),
        "step 1 (a), input_map 'z'",
        "model 'a' has no input 'z'; there are 'x'",
    ),
    "unmapped input": (
        ensemble(step("a", "in", "out", own="z")),
        "step 1 (a), input_map",
        "input 'x' of model 'a' is mapped to no tensor",
    ),
    "unknown output": (
        ensemble(step("a", "in", "out", gives="z")),
        "step 1 (a), output_map 'z'",
        "model 'a' has no output 'z'",
    ),
    "datatype": (
        ensemble(*CHAIN, inputs=TENSOR.format("in").replace("FP32", "INT64")),
        "tensor 'in'",
        "is INT64 [-1, 4] from the request, but FP32 [-1, 4] for step 1 (a), input 'x'",
    ),
    "shape": (
        ensemble(*CHAIN, outputs=TENSOR.format("out").replace("4", "5")),
        "tensor 'out'",
        "is FP32 [-1, 4] from step 2 (b), output 'y', but FP32 [-1, 5] for the ensemble's output",
    ),
    "nothing": ('platform: "ensemble"', "ensemble_scheduling", "has no step"),
    "itself": (
        ensemble(step("e", "in", "out", own="in", gives="out")),
        "ensemble_scheduling",
        "ensembles form a cycle: e -> e",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_graph_names_its_edge(case: str) -> None:
    """Ensemble, step or tensor, and what is wrong, as far as can be told with what to do."""
    text, where, words = BROKEN[case]
    with pytest.raises(BrokenGraphs) as refused:
        translate(repository(text), folder="models")
    told = [fault for fault in refused.value.faults if fault.where == where]
    assert told, refused.value.faults
    assert any(words in fault.problem for fault in told), told
    assert {fault.ensemble for fault in told} == {"e"}


def test_shapes_fit_with_or_without_the_row_dimension() -> None:
    """As in Triton, where an ensemble that does not batch may be made of models that do."""
    text = ensemble(*CHAIN).replace("max_batch_size: 8", "").replace("dims: [4]", "dims: [-1, 4]")
    assert "e" in translate(repository(text), folder="models").ensembles


def test_every_field_has_a_fate() -> None:
    """Nothing of Triton's message is passed over, and no entry speaks of a field that is not there."""
    paths = {".".join(path) for path in leaves(model_config.ModelConfig.DESCRIPTOR)}
    assert {path for path in paths if entry_of(path)[0] not in FIELDS} == set()
    above = {path.rsplit(".", n)[0] for path in paths for n in range(path.count(".") + 1)} | paths
    assert set(FIELDS) <= above
    carried = {path for path, field in FIELDS.items() if not field.remedy}
    assert carried == {path for path, field in FIELDS.items() if field.fate is Fate.CARRIED}


def test_a_repository_is_read_from_disk(tmp_path: Path) -> None:
    """ONNX models by what their files say, others by their configs, broken ones with the reason."""
    models.write_model(tmp_path, "plain", models.linear(np.eye(4)))
    models.write_model(tmp_path, "odd", b"x", config="frobnicate: 1")
    models.write_model(tmp_path, "cached", models.attends(), config="response_cache {enable: true}")
    (tmp_path / "py" / "3").mkdir(parents=True)
    (tmp_path / "py" / "config.pbtxt").write_text(f'backend: "python" {MODEL}')
    (tmp_path / "e" / "7").mkdir(parents=True)
    (tmp_path / "e" / "config.pbtxt").write_text(ensemble(step("plain", "in", "out")))
    (tmp_path / ".git").mkdir()
    (tmp_path / "notes").mkdir()
    read_models = read(tmp_path)
    assert list(read_models) == ["cached", "e", "odd", "plain", "py"]
    assert {name: bool(each.unfit) for name, each in read_models.items() if not each.is_ensemble} == {
        "cached": True,
        "odd": True,
        "plain": False,
        "py": True,
    }
    assert "line 1" in read_models["odd"].unfit
    assert read_models["py"].versions == ("3",)
    plain = read_models["plain"].spec
    assert plain is not None
    assert [tensor.shape for tensor in plain.inputs] == [(-1, 4)]
    assert translate(read_models, folder=".").ensembles["e"]["version"] == "7"
    with pytest.raises(ModelError, match="holds no model"):
        read(tmp_path / ".git")
    with pytest.raises(ModelError, match="cannot be read as a directory"):
        read(tmp_path / "nowhere")
