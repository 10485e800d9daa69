"""What makes a model on disk, and what each mistake is called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.models import linear, write_model
from workers.model.errors import ModelError
from workers.model.repository import find, models

if TYPE_CHECKING:
    from pathlib import Path

ONNX = linear(np.ones((2, 3)))
LABELLED = 'output [ { name: "y" label_filename: "%s" } ]'


def test_a_model_needs_no_config(tmp_path: Path) -> None:
    """A directory with a numbered version and an ONNX file is a model."""
    files = find(write_model(tmp_path, "m", ONNX), "m")
    assert (files.name, files.version) == ("m", "1")
    assert files.path == tmp_path / "m" / "1" / "model.onnx"
    assert files.config.message.name == "m"
    assert files.config.batch_limit is None
    assert not files.labels


def test_the_highest_version_is_served_unless_one_is_asked_for(tmp_path: Path) -> None:
    """Versions compare as numbers, and names that are no version are passed over."""
    for version in (2, 9, 10):
        write_model(tmp_path, "m", ONNX, version=version)
    for stray in ("011", "0", "-3", "1.5", "tmp"):
        (tmp_path / "m" / stray).mkdir()
    assert find(tmp_path, "m").version == "10"
    assert find(tmp_path, "m", "2").version == "2"


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("version_policy { specific { versions: [2, 9] } }", "9"),
        ("version_policy { latest { num_versions: 2 } }", "10"),
        ("version_policy { all {} }", "10"),
    ],
)
def test_a_version_policy_limits_what_is_served(tmp_path: Path, policy: str, served: str) -> None:
    """The highest allowed version is the default, and one that is not allowed cannot be asked for."""
    for version in (2, 9, 10):
        write_model(tmp_path, "m", ONNX, version=version, config=policy)
    assert find(tmp_path, "m").version == served
    for version in ("2", "9", "10"):
        allowed = (
            "all" in policy or version in {"specific": "2 9", "latest": "9 10"}[policy.split()[2]].split()
        )
        if allowed:
            assert find(tmp_path, "m", version).version == version
        else:
            with pytest.raises(ModelError, match="has no version"):
                find(tmp_path, "m", version)


def test_zero_rows_and_no_word_about_rows_are_told_apart(tmp_path: Path) -> None:
    """``max_batch_size: 0`` says that the model does not batch; its absence says nothing."""
    texts = {
        "absent": 'name: "absent"',
        "zero": "max_batch_size: 0",
        "inline": 'name: "inline" max_batch_size: 0',
        "comment": "# max_batch_size: 0",
        "string": 'parameters { key: "max_batch_size: 0" value { string_value: "x" } }',
        "eight": "max_batch_size: 8",
    }
    limits = {
        name: find(write_model(tmp_path, name, ONNX, config=text), name).config.batch_limit
        for name, text in texts.items()
    }
    assert limits == {"absent": None, "zero": 0, "inline": 0, "comment": None, "string": None, "eight": 8}


def test_fields_without_effect_are_listed_not_refused(tmp_path: Path) -> None:
    """What only tunes Triton neither stops a model nor passes silently."""
    text = "optimization { cuda { graphs: true } }\ninstance_group [ { count: 2 host_policy: 'x' } ]"
    files = find(write_model(tmp_path, "m", ONNX, config=text), "m")
    assert files.config.ignored == ("instance_group.host_policy", "optimization.cuda.graphs")


def test_labels_are_one_per_line(tmp_path: Path) -> None:
    """Line ends of either kind end a label, and nothing else does."""
    files = {"names.txt": "red fox\r\nowl\u2028barn\n é\n"}
    write_model(tmp_path, "m", ONNX, config=LABELLED % "names.txt", files=files)
    assert find(tmp_path, "m").labels == {"y": ("red fox", "owl\u2028barn", " é")}


def test_a_mounted_config_map_is_no_escape(tmp_path: Path) -> None:
    """Label files may be links as long as they stay inside the model's directory."""
    write_model(tmp_path, "m", ONNX, config=LABELLED % "labels.txt")
    data = tmp_path / "m" / "..data"
    data.mkdir()
    (data / "labels.txt").write_text("a\nb\nc\n")
    (tmp_path / "m" / "labels.txt").symlink_to("..data/labels.txt")
    assert find(tmp_path, "m").labels["y"] == ("a", "b", "c")


CONFIG_MISTAKES = {
    "unknown field": ('name: "m"\nmax_batch: 3', "line 2: Message type .* no field named"),
    "unknown inner field": ('input [ { nme: "x" } ]', "line 1: .*no field named"),
    "not a number": ("max_batch_size: many", "line 1: .*parse integer"),
    "unclosed": ("input {", "Expected"),
    "another name": ('name: "other"', "names the model 'other', but its directory is 'm'"),
    "another platform": ('platform: "tensorrt_plan"', "'tensorrt_plan'.*Triton"),
    "another backend": ('backend: "python"', "'python'.*Triton"),
    "negative rows": ("max_batch_size: -1", "may not be negative"),
    "state": ("sequence_batching { }", "sequence_batching is not offered"),
    "ensemble": ("ensemble_scheduling { }", "ensemble_scheduling is not offered"),
    "custom operators": (
        'model_operations { op_library_filename: "x.so" }',
        "model_operations is not offered",
    ),
    "decoupled": ("model_transaction_policy { decoupled: true }", "decoupled"),
    "nameless": ("input [ { dims: [1] } ]", "an input has no name"),
    "twice": ('output [ { name: "y" }, { name: "y" } ]', "listed twice"),
    "odd type": ('input [ { name: "x" data_type: 99 } ]', "unknown data_type 99"),
    "ragged": ('input [ { name: "x" allow_ragged_batch: true } ]', "ragged"),
    "model elsewhere": ('default_model_filename: "../../m.onnx"', "not a plain file name"),
    "labels elsewhere": (LABELLED % "../secret.txt", "leaves the model's directory"),
    "labels absolute": (LABELLED % "/etc/hostname", "leaves the model's directory"),
    "labels by a link": (LABELLED % "link.txt", "leaves the model's directory"),
    "labels with NUL": (LABELLED % r"\000", "leaves the model's directory"),
    "labels missing": (LABELLED % "none.txt", r"none\.txt: cannot be read \(No such file"),
    "labels empty": (LABELLED % "empty.txt", "has no labels"),
    "labels twice": (LABELLED % "twice.txt", "label 'a' twice"),
    "no version allowed": ("version_policy { specific { versions: [7] } }", "allows none"),
}


@pytest.mark.parametrize(("config", "cause"), CONFIG_MISTAKES.values(), ids=CONFIG_MISTAKES)
def test_each_mistake_in_a_config_has_its_message(tmp_path: Path, config: str, cause: str) -> None:
    """A mistake is one sentence that begins with the path of the file at fault."""
    (tmp_path / "secret.txt").write_text("secret\n")
    write_model(tmp_path, "m", ONNX, config=config, files={"empty.txt": "\n", "twice.txt": "a\nb\na\n"})
    (tmp_path / "m" / "link.txt").symlink_to("../secret.txt")
    with pytest.raises(ModelError, match=cause) as caught:
        find(tmp_path, "m")
    assert str(caught.value).startswith(f"{tmp_path / 'm'}")
    assert "secret\n" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_repository_is_named(tmp_path: Path) -> None:
    """The message names the directory that is not there."""
    with pytest.raises(ModelError, match=r"gone: cannot be read as a directory \(No such file"):
        find(tmp_path / "gone", "m")


def test_a_missing_model_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    """A typing error is easy to see when the right names stand beside it."""
    write_model(tmp_path, "polarity", ONNX)
    write_model(tmp_path, "topic", ONNX)
    assert models(tmp_path) == ("polarity", "topic")
    with pytest.raises(ModelError, match="has no model 'topics'; it has 'polarity', 'topic'"):
        find(tmp_path, "topics")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../m", "m\n", "é", "x" * 129])
def test_a_name_cannot_leave_the_repository(tmp_path: Path, name: str) -> None:
    """Only plain names are looked up."""
    write_model(tmp_path / "repository", "m", ONNX)
    with pytest.raises(ModelError, match="cannot be a model's name"):
        find(tmp_path / "repository", name)


def test_a_model_without_version_or_file_is_named(tmp_path: Path) -> None:
    """Empty directories and empty files are told apart."""
    (tmp_path / "bare").mkdir()
    (tmp_path / "hollow" / "1").mkdir(parents=True)
    write_model(tmp_path, "empty", b"")
    for name, cause in (("bare", "has no version"), ("hollow", "does not exist"), ("empty", "is empty")):
        with pytest.raises(ModelError, match=cause):
            find(tmp_path, name)


def test_a_config_that_is_not_text_is_named(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are the file's fault, with their place."""
    write_model(tmp_path, "m", ONNX)
    (tmp_path / "m" / "config.pbtxt").write_bytes(b'name: "\xff"')
    with pytest.raises(ModelError, match=r"config\.pbtxt: is not UTF-8 text \(byte 7\)"):
        find(tmp_path, "m")


@pytest.mark.parametrize("kind", ["pipe", "device", "dangling link"])
def test_a_config_that_is_no_file_is_named_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    """Reading a pipe would wait for a writer, a device never end; a link to nothing is no missing config."""
    config = write_model(tmp_path, "m", ONNX) / "m" / "config.pbtxt"
    if kind == "pipe":
        os.mkfifo(config)
    else:
        config.symlink_to("/dev/zero" if kind == "device" else "nothing")
    with pytest.raises(ModelError, match=r"not a regular file|cannot be read") as caught:
        find(tmp_path, "m")
    assert caught.value.path == config


def test_a_config_larger_than_any_should_be_is_not_read(tmp_path: Path) -> None:
    """It is read whole, and parsed in Python, by worker and gateway alike."""
    write_model(tmp_path, "m", ONNX, config="#" * (4 << 20))
    find(tmp_path, "m")
    write_model(tmp_path, "m", ONNX, config="#" * ((4 << 20) + 1))
    with pytest.raises(ModelError, match="is larger than"):
        find(tmp_path, "m")


def test_what_is_told_of_a_wrong_config_is_short(tmp_path: Path) -> None:
    """However long the wrong word is."""
    write_model(tmp_path, "m", ONNX, config="max_batch_size: " + "9" * 10_000)
    with pytest.raises(ModelError) as caught:
        find(tmp_path, "m")
    assert len(caught.value.cause) < 600
