"""What is exported is what its card says, and a worker serves it as it is."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import torch

from protos import oip
from protos.tensor import Tensor
from tests.interop.asking import infer
from tests.serving import listening
from tests.training import small
from tests.training.test_repository import tree
from training.compress.variant import read
from training.compress.variants import compress
from training.config import Encoder
from training.data import Part
from training.errors import TrainingError
from training.export.checks import check_names
from training.export.interface import scores_of
from training.export.run import export, licence_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = [
    {"kind": "int8"},
    {"kind": "int8", "mode": "dynamic"},
    {"kind": "distil", "student": "cnn", "epochs": 1},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A configuration, a data set, a model, and the folder of its variants."""
    folder = tmp_path_factory.mktemp("run")
    rows = small.dataset()
    config = small.config(folder, compress=STEPS)
    model = small.model(config, rows)
    compress(config, rows, model, folder)
    return config, rows, model, folder


def exported(made: Any, variant: str, repository: Path, **sections: Any) -> Path:
    """Export a variant under the name ``mood``."""
    config, rows, model, folder = made
    if sections:
        config = small.config(folder, compress=STEPS, **sections)
    return export(config, rows, model, folder, variant, repository=repository, name="mood")


def test_a_card_says_what_the_model_is(made: Any, tmp_path: Path) -> None:
    """Data, split, metrics, temperature, time, invariance, licence, parity."""
    card = json.loads((exported(made, "fp32", tmp_path) / "card.json").read_text())
    assert card["data"]["sources"][0]["sha256"] == "0" * 64
    assert card["licence"]["data"] == ["CC0-1.0"]
    assert card["tasks"]["mood"]["classes"] == list(small.MOODS)
    assert 0 < card["tasks"]["mood"]["temperature"] < 51
    assert set(card["tasks"]["strength"]["metrics"]) == {"validation", "test"}
    assert card["latency"]["ms_8"] > 0
    assert card["invariance"]["same"] is True
    assert card["parity"] < 1e-5


def test_a_batch_dependent_model_is_refused_unless_that_is_allowed(made: Any, tmp_path: Path) -> None:
    """And then says so in card and config."""
    with pytest.raises(TrainingError, match=r"depends on the rows beside it.*allow_batch_dependent: true"):
        exported(made, "int8-dynamic", tmp_path / "models")
    assert tree(tmp_path) == {}
    allowed = {"repository": str(tmp_path / "models"), "allow_batch_dependent": True}
    version = exported(made, "int8-dynamic", tmp_path / "models", export=allowed)
    card = json.loads((version / "card.json").read_text())
    assert card["row_independent"] is False
    assert card["invariance"]["worst"] > 1e-5
    config = (version.parent / "config.pbtxt").read_text()
    assert 'key: "accord_independent"\n  value {\n    string_value: "false"' in config


def test_a_model_that_is_not_the_files_is_refused(made: Any, tmp_path: Path) -> None:
    """Parity is proved again when the trained model is exported: here its weights have moved on."""
    config, rows, _, folder = made
    other = small.model(config, rows)
    with torch.no_grad():
        next(iter(other.heads.parameters())).mul_(1.01)
    with pytest.raises(TrainingError, match="the exported file differs from the trained model"):
        export(config, rows, other, folder, "fp32", repository=tmp_path / "models", name="mood")
    assert tree(tmp_path) == {}


def test_a_variant_of_other_weights_is_refused(made: Any, tmp_path: Path) -> None:
    """Nothing could be proved of it by asking the model; so its origin is compared."""
    config, rows, _, folder = made
    other = small.model(config, rows)
    with torch.no_grad():
        next(iter(other.heads.parameters())).mul_(1.01)
    for variant in ("int8", "cnn"):
        with pytest.raises(TrainingError, match=f"{variant}.: was made of other weights"):
            export(config, rows, other, folder, variant, repository=tmp_path / "models", name="mood")
    assert tree(tmp_path) == {}


def test_a_student_is_held_to_the_tolerance_of_now(made: Any, tmp_path: Path) -> None:
    """Though it was made under another."""
    strict = {"repository": str(tmp_path / "models"), "tolerance": 1e-12}
    with pytest.raises(TrainingError, match=r"variant 'cnn': differs from what was trained by .* than 1e-12"):
        exported(made, "cnn", tmp_path / "models", export=strict)
    assert tree(tmp_path) == {}


def test_texts_are_cut_to_the_length_that_the_encoder_reads(made: Any, tmp_path: Path) -> None:
    """One that came from another run has its own, whatever this configuration says."""
    version = exported(made, "fp32", tmp_path, data={"source": "vader", "max_length": 99})
    assert 'string_value: "24"' in (version.parent / "config.pbtxt").read_text()


def test_swapped_labels_fail_the_card(made: Any, tmp_path: Path) -> None:
    """Two lines of the label file change places: the figures are no longer those of the card."""
    _, rows, model, folder = made
    version = exported(made, "fp32", tmp_path)
    variant = read(folder, "fp32")
    labels = version.parent / "mood.labels.txt"

    def check() -> None:
        check_names(version.parent, version, variant, model, rows, metrics=variant.facts["metrics"])

    check()
    labels.write_text("good\nso-so\nbad\n")
    with pytest.raises(TrainingError, match=r"output 'mood.probabilities': .* its labels are swapped"):
        check()
    labels.write_text("good\nso-so\nugly\n")
    with pytest.raises(TrainingError, match="names other classes"):
        check()


def test_without_test_rows_labels_are_proved_on_validation(made: Any, tmp_path: Path) -> None:
    """A test part is nobody's duty; swapped labels are found all the same."""
    config, rows, model, _ = made
    none = replace(rows, parts=np.where(rows.parts == Part.TEST, -1, rows.parts).astype(np.int8))
    compress(config.model_copy(update={"compress": ()}), none, model, tmp_path / "run")
    version = export(
        config, none, model, tmp_path / "run", "fp32", repository=tmp_path / "models", name="mood"
    )
    variant = read(tmp_path / "run", "fp32")
    (version.parent / "mood.labels.txt").write_text("good\nso-so\nbad\n")
    with pytest.raises(TrainingError, match=r"on the validation rows is .* its labels are swapped"):
        check_names(version.parent, version, variant, model, none, metrics=variant.facts["metrics"])


def test_the_licence_is_that_of_the_encoder_behind_a_run(tmp_path: Path) -> None:
    """Whatever the configuration's own name would be by default."""
    encoder = Encoder.model_validate({"from": str(tmp_path)})
    assert licence_of(encoder) == "not stated"
    (tmp_path / "config.yaml").write_text(
        "data: {source: a.csv}\nencoder: {name: bag}\ntasks: {a: {kind: regress}}\n"
    )
    assert licence_of(encoder) == "trained here"


@pytest.fixture(scope="module", params=["fp32", "int8", "cnn"])
def worker(
    request: pytest.FixtureRequest, made: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """The address of a worker that serves a variant, and the variant's name."""
    folder = tmp_path_factory.mktemp("served")
    exported(made, request.param, folder / "models")
    command = [
        sys.executable,
        "-m",
        "workers.main",
        "--repository",
        str(folder / "models"),
        "--model",
        "mood",
    ]
    more = ["--address", "127.0.0.1:0", "--threads", "1", "--require-digests"]
    with listening([*command, *more], folder / "log") as (_, address):
        yield address, request.param, folder / "log"


def test_a_worker_answers_texts_as_the_run_does(made: Any, worker: Any) -> None:
    """All test rows in one call: scores are those that were kept with the variant, words are the classes."""
    _, rows, model, folder = made
    address, variant, log = worker
    some = rows.rows(Part.TEST)
    texts = np.array([[rows.inputs.texts[row].encode()] for row in some], object)
    with grpc.insecure_channel(address) as channel:
        answer = infer(channel, "mood", {"text": Tensor.from_array(texts)})
        described = oip.messages.ModelConfigResponse.FromString(
            channel.unary_unary(f"/{oip.SERVICE}/ModelConfig")(
                oip.messages.ModelConfigRequest(name="mood").SerializeToString(), timeout=10
            )
        )
    assert described.config.parameters["accord_independent"].string_value == "true", log.read_text()
    got = {name: tensor.array() for name, tensor in answer.items()}
    kept = read(folder, variant)
    scores = scores_of(got, kept.heads)
    with np.load(folder / "variants" / variant / "predictions.npz") as file:
        places = np.flatnonzero(np.isin(file["rows"], some))
        for task in ("mood", "strength"):
            np.testing.assert_allclose(scores[task], file[task][places], rtol=1e-4, atol=1e-4)
    assert got["mood.label"][:, 0].tolist() == [
        small.MOODS[i].encode() for i in got["mood.probabilities"].argmax(1)
    ]
    if variant == "fp32":
        with torch.no_grad():
            logits = model(model.collate(rows, some))["mood"].numpy() / kept.heads[0].temperature
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(got["mood.probabilities"], expected, rtol=0, atol=1e-5)
