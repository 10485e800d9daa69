"""A tokenizer beside an ONNX file makes it a model of texts, which answers each as if it were alone."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from protos.errors import AccordError, Reason
from protos.tensor import TensorSpec
from tests import models, texts
from workers.model.errors import ModelError
from workers.model.files import integrity
from workers.model.interface import declared
from workers.model.ready import make_ready
from workers.model.repository import find
from workers.model.runtime import binding
from workers.model.runtime.instances import CPU, Placement
from workers.model.session import load
from workers.model.text.feed import TOKENS
from workers.model.text.tokenizer import MOST_BYTES
from workers.model.text.view import text_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workers.model.runtime.binding import Compute
    from workers.model.session import Session

#: Of 2 to 42 tokens, with unknown words and nothing at all among them.
MIXED = [
    "w1 w2",
    "",
    "the film was never good",
    " ".join(f"w{i}" for i in range(40)),
    "Dull",
    "no such words",
]


def ready(repository: Path, name: str = "m", *, threads: str = "1") -> Session:
    """Load a model and make it ready."""
    session = load(find(repository, name), threads=threads)
    make_ready(session)
    return session


def rows(sent: Sequence[str | bytes]) -> np.ndarray:
    """Return texts as a session takes them."""
    array = np.empty((len(sent), 1), object)
    array[:, 0] = [text.encode() if isinstance(text, str) else text for text in sent]
    return array


def embeddings(session: Session, sent: Sequence[str], name: str = "text", **more: Any) -> np.ndarray:
    return session.run({name: rows(sent), **more})["embedding"]


def refusal(repository: Path, name: str = "m") -> str:
    """Return why a model is not loaded, without the directory that differs from run to run."""
    with pytest.raises(ModelError) as caught:
        load(find(repository, name), threads="1")
    return str(caught.value).replace(str(repository), "...")


def rejected(session: Session, sent: Sequence[str | bytes]) -> AccordError:
    """Return what a caller is told whose texts are rejected."""
    with pytest.raises(AccordError) as caught:
        session.run({"text": rows(sent)})
    assert caught.value.reason is Reason.INPUT_REJECTED
    assert caught.value.field == "inputs"
    return caught.value


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        (texts.embeds(), texts.tokenizer(longest=60)),
        (texts.embeds(datatype="INT32"), texts.tokenizer(longest=60)),
        (texts.embeds(inputs=("input_ids", "attention_mask")), texts.tokenizer(longest=60)),
        (texts.embeds(tokens=50), texts.tokenizer()),
        (texts.embeds(), texts.tokenizer(longest=60, left=True)),
        (texts.embeds(), texts.tokenizer(longest=60, pads=False)),
    ],
    ids=["three inputs", "INT32", "no types", "fixed length", "padded left", "padding unsaid"],
)
def test_every_text_is_answered_by_its_own_words(tmp_path: Path, model: bytes, tokens: str) -> None:
    """Alone, among others, and in whatever order: as computed by hand, and independent of its neighbours."""
    session = ready(texts.write_text_model(tmp_path, "m", model, tokens=tokens))
    expected = np.stack([texts.mean_of(text) for text in MIXED])
    alone = np.concatenate([embeddings(session, [text]) for text in MIXED])
    assert np.allclose(alone, expected, rtol=0, atol=1e-5)
    for order in (range(6), range(5, -1, -1), [3, 0, 3, 1, 5, 4, 2, 2]):
        among = embeddings(session, [MIXED[i] for i in order])
        assert np.allclose(among, expected[list(order)], rtol=0, atol=1e-5)
    assert embeddings(session, []).shape == (0, 4)
    assert session.spec.independent is True


def test_without_a_mask_padding_would_show(tmp_path: Path) -> None:
    """The control of the test above: a model that cannot tell padding from words, and is found out."""
    model = texts.embeds(inputs=("input_ids",))
    session = ready(texts.write_text_model(tmp_path, "m", model, tokens=texts.tokenizer(longest=60)))
    alone = embeddings(session, ["w1"])
    assert np.abs(embeddings(session, ["w1", "w1 w2 w3"])[:1] - alone).max() > 1
    assert session.spec.independent is False


def test_the_interface_has_one_input_of_texts(tmp_path: Path) -> None:
    """The inputs of tokens are gone, in the config as well; without the tokenizer they are back."""
    texts.write_text_model(tmp_path, "m")
    session = load(find(tmp_path, "m"), threads="1")
    (text,) = session.spec.inputs
    assert (text.name, text.datatype, text.shape) == ("text", "BYTES", (-1, 1))
    assert session.spec.max_rows == 256
    assert [(entry.name, list(entry.dims)) for entry in session.config.input] == [("text", [1])]
    (tmp_path / "m" / "1" / "tokenizer.json").unlink()
    plain = load(find(tmp_path, "m"), threads="1")
    assert [spec.name for spec in plain.spec.inputs] == ["input_ids", "attention_mask", "token_type_ids"]


def test_the_config_may_name_the_input_and_says_all_that_a_gateway_asks_before(tmp_path: Path) -> None:
    """Any name that the ONNX file does not have; what is declared is what is served."""
    config = """
    max_batch_size: 8
    input [ { name: "review" data_type: TYPE_STRING dims: [1] } ]
    output [ { name: "embedding" data_type: TYPE_FP32 dims: [4] } ]
    """
    files = find(texts.write_text_model(tmp_path, "m", config=config), "m")
    session = load(files, threads="1")
    assert declared(files) == session.spec
    assert np.allclose(embeddings(session, MIXED, "review")[0], texts.mean_of(MIXED[0]), atol=1e-5)


def test_a_config_that_lists_input_ids_keeps_taking_tokens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A repository that served tokens before its tokenizer lay there is not changed under its clients."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    config = "".join(f'input {{ name: "{name}" }}\n' for name in names)
    files = find(texts.write_text_model(tmp_path, "m", config=config), "m")
    assert [spec.name for spec in load(files, threads="1").spec.inputs] == list(names)
    assert [r.what for r in caplog.records if "without effect" in r.message] == [["tokenizer.json"]]


def test_other_inputs_stay(tmp_path: Path) -> None:
    """They keep the rows of their texts, however those are shared out among runs."""
    from onnx import helper

    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["input_ids"], ["floats"], to=models.ONNX_TYPES["FP32"]),
                helper.make_node("Slice", ["floats", "from", "to", "axis"], ["second"]),
                helper.make_node("Add", ["second", "x"], ["embedding"]),
            ],
            "more",
            [
                helper.make_tensor_value_info("input_ids", models.ONNX_TYPES["INT64"], ("n", "t")),
                helper.make_tensor_value_info("x", models.ONNX_TYPES["FP32"], ("n", 1)),
            ],
            [helper.make_tensor_value_info("embedding", models.ONNX_TYPES["FP32"], ("n", 1))],
            [
                helper.make_tensor(name, models.ONNX_TYPES["INT64"], [1], [value])
                for name, value in (("from", 1), ("to", 2), ("axis", 1))
            ],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    ).SerializeToString()
    session = ready(texts.write_text_model(tmp_path, "m", model))
    sent = ["w1", " ".join(["w2"] * 40), "w3", " ".join(["w4"] * 40), "w5"]
    answer = embeddings(session, sent, x=np.arange(0, 500, 100, dtype=np.float32)[:, None])
    assert answer[:, 0].tolist() == [5, 106, 207, 308, 409]


def test_rows_of_like_length_run_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short texts are not padded to a long one; where an output would have several lengths, they are."""
    shapes: list[tuple[int, ...]] = []
    plain = binding.plain

    def watched(runtime: Any) -> Compute:
        compute = plain(runtime)

        def computed(names: Sequence[str], feed: Any, options: Any) -> list[np.ndarray]:
            shapes.append(feed["input_ids"].shape)
            return compute(names, feed, options)

        return computed

    monkeypatch.setattr(binding, "plain", watched)
    session = load(find(texts.write_text_model(tmp_path, "m"), "m"), threads="1")
    sent = ["w1 w2"] * 20 + [" ".join(["w3"] * 40)] * 2
    embeddings(session, sent)
    assert shapes == [(20, 4), (2, 42)]

    ids = load(find(texts.write_text_model(tmp_path, "ids", texts.echoes()), "ids"), threads="1")
    assert ids.run({"text": rows(sent)})["ids"].shape == (22, 42)
    assert shapes[2:] == [(22, 42)]


def test_on_a_gpu_all_rows_run_together(tmp_path: Path) -> None:
    """There a run costs far more by itself than the padding that it would save; on a CPU there are two."""
    files = find(texts.write_text_model(tmp_path, "m"), "m")
    spec = load(files, threads="1").spec
    tokens = [TensorSpec(name, "INT64", (-1, -1)) for name in TOKENS]
    view = text_view(files, tokens, spec.outputs)
    sent = np.array([["w1"], [" ".join(["w2"] * 100)]], object)
    for placement, runs in ((Placement("gpu", 0), 1), (CPU, 2)):
        seen: list[int] = []

        def compute(_names: Any, feed: Any, _options: Any, seen: list[int] = seen) -> list[np.ndarray]:
            seen.append(len(feed["input_ids"]))
            return [np.zeros((seen[-1], 4), np.float32)]

        view.around(compute, spec, placement)(["embedding"], {"text": sent}, None)
        assert len(seen) == runs


LIMITS = {
    "of the config": ('parameters { key: "max_tokens" value { string_value: "10" } }', 50, 10),
    "of the tokenizer": ("", 20, 20),
    "by default": ("", None, 256),
}


@pytest.mark.parametrize(("config", "cuts", "limit"), LIMITS.values(), ids=LIMITS)
def test_long_texts_are_cut(tmp_path: Path, config: str, cuts: int | None, limit: int) -> None:
    """To what the config says, else the tokenizer, else 256; special tokens count."""
    tokens = texts.tokenizer(longest=cuts)
    files = find(texts.write_text_model(tmp_path, "m", config=config, tokens=tokens), "m")
    session = load(files, threads="1")
    text = " ".join(f"w{i % 60}" for i in range(50))
    assert np.allclose(embeddings(session, [text])[0], texts.mean_of(text, longest=limit), atol=1e-5)
    assert len(session.texts["text"][0].split()) >= limit - 2


REFUSING = """
parameters { key: "max_tokens" value { string_value: "10" } }
parameters { key: "long_text" value { string_value: "refuse" } }
"""


def test_long_texts_are_refused_where_the_config_says_so(tmp_path: Path) -> None:
    """With the row, by how much, and the limit; one token less is answered, and so is the warm-up."""
    session = ready(texts.write_text_model(tmp_path, "m", config=REFUSING))
    error = rejected(session, ["w1", "w2 " * 8, "w3 " * 9, "w4 " * 30])
    assert error.message == (
        "row 2 of input 'text' has 11 tokens, 1 more than the 10 that the model takes; "
        "shorten or split the text"
    )
    assert np.allclose(embeddings(session, ["w2 " * 8])[0], texts.mean_of("w2 " * 8), atol=1e-5)


def test_what_is_no_text_is_rejected_with_its_row(tmp_path: Path) -> None:
    """What is not UTF-8, and what is larger than any text should be."""
    files = find(texts.write_text_model(tmp_path, "m", tokens=texts.tokenizer(longest=60)), "m")
    session = load(files, threads="1")
    assert "element 1 of input 'text' is not UTF-8" in rejected(session, ["w1", b"\xff\xfe"]).message
    assert "row 2 of input 'text' is longer than 262144 bytes" in (
        rejected(session, ["w1", "w2", "é" * (MOST_BYTES // 2 + 1)]).message
    )
    largest = ("w1 " * MOST_BYTES)[:MOST_BYTES]
    assert embeddings(session, [largest, "w1"]).shape == (2, 4)


WRONG = {
    "no number": ('parameters { key: "max_tokens" value { string_value: "many" } }', "max_tokens is 'many'"),
    "nothing": ('parameters { key: "max_tokens" value { string_value: "0" } }', "use a number from 1 to"),
    "no choice": (
        'parameters { key: "long_text" value { string_value: "split" } }',
        "parameters.long_text is 'split'; use truncate or refuse",
    ),
    "too few": (
        'parameters { key: "max_tokens" value { string_value: "2" } }',
        "parameters.max_tokens of the config is 2 tokens, but 2 special ones are added to each text",
    ),
    "two texts": (
        'input { name: "a" data_type: TYPE_STRING } input { name: "b" data_type: TYPE_STRING }',
        "input 'b' is not in model.onnx; it has 'a'",
    ),
    "wide": ('input { name: "a" data_type: TYPE_STRING dims: [-1, 2] }', "input 'a' has shape [-1, 2] here"),
    "numbers": ('input { name: "text" data_type: TYPE_INT64 }', "'text' is INT64 here, but BYTES"),
}


@pytest.mark.parametrize(("config", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_config_is_refused_at_load(tmp_path: Path, config: str, problem: str) -> None:
    """Naming the file, the field and the fix."""
    texts.write_text_model(tmp_path, "m", config=config)
    told = refusal(tmp_path)
    assert told.startswith(".../m/config.pbtxt: ")
    assert problem in told


def test_more_tokens_than_the_model_knows_are_refused_at_load(tmp_path: Path) -> None:
    """Not by the first long text: the warm-up tries the longest."""
    config = 'parameters { key: "max_tokens" value { string_value: "%d" } }'
    ready(texts.write_text_model(tmp_path, "m", config=config % texts.POSITIONS))
    texts.write_text_model(tmp_path, "m", config=config % (texts.POSITIONS + 1))
    with pytest.raises(
        ModelError, match=r"warm-up on words of shape text \[1, 1\].*say a smaller max_tokens"
    ):
        ready(tmp_path)
    texts.write_text_model(tmp_path, "fixed", texts.embeds(tokens=50), config=config % 51)
    assert "parameters.max_tokens of the config is 51, but model.onnx takes 50 tokens" in refusal(
        tmp_path, "fixed"
    )


def test_a_model_without_the_library_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one that needs it."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    texts.write_text_model(tmp_path, "m")
    assert refusal(tmp_path) == (
        ".../m/1/tokenizer.json: needs the tokenizers library, which is not installed; "
        "run pip install 'accord-gateway[text]'"
    )
    load(find(models.write_model(tmp_path, "plain", models.linear(np.ones((2, 2)))), "plain"), threads="1")


@pytest.mark.parametrize("content", ["", "{}", '{"version": "9.0"}', "[1]"])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    """Naming it."""
    texts.write_text_model(tmp_path, "m", tokens=content)
    assert refusal(tmp_path).startswith(".../m/1/tokenizer.json: cannot be read by the tokenizers library (")


def test_a_tokenizer_that_fails_on_words_is_refused(tmp_path: Path) -> None:
    """Not by the first request with a word that it does not know."""
    tokens = json.loads(texts.tokenizer())
    tokens["model"]["unk_token"] = "[NONE]"
    texts.write_text_model(tmp_path, "m", tokens=json.dumps(tokens))
    assert "tokenizer.json: fails on plain words (WordLevel error" in refusal(tmp_path)


def test_the_tokenizer_is_one_of_the_files_that_are_watched_and_checked(tmp_path: Path) -> None:
    """By digests, by where it lies, and by what a look for changes sees."""
    folder = texts.write_text_model(tmp_path, "m") / "m" / "1"
    path = folder / "tokenizer.json"

    def sums(*names: str) -> None:
        lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        (folder / "SHA256SUMS").write_text("".join(lines))

    sums("model.onnx")
    assert "SHA256SUMS: does not list 'tokenizer.json'" in refusal(tmp_path)
    sums("model.onnx", "tokenizer.json")
    before = find(tmp_path, "m")
    integrity.check(before, require_digests=True)
    path.write_text(texts.tokenizer(longest=9))
    assert find(tmp_path, "m").fingerprint != before.fingerprint
    assert "tokenizer.json: has SHA-256" in refusal(tmp_path)

    (folder / "SHA256SUMS").unlink()
    (tmp_path / "elsewhere.json").write_text(texts.tokenizer())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.json")
    assert "tokenizer.json: leads out of" in refusal(tmp_path)
    path.unlink()
    path.symlink_to("nothing")
    assert "tokenizer.json: cannot be read" in refusal(tmp_path)


def test_a_text_model_never_runs_in_an_event_loop(tmp_path: Path) -> None:
    """However short its runs are: how long a text is shows only when it is read. As tokens it may."""
    session = ready(texts.write_text_model(tmp_path, "m"))
    assert not session.pace.steady
    (tmp_path / "m" / "1" / "tokenizer.json").unlink()
    assert ready(tmp_path).pace.steady


def test_the_log_says_what_becomes_of_long_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where texts are taken; elsewhere that the parameters have no effect."""
    caplog.set_level(logging.INFO)
    texts.write_text_model(tmp_path, "m", config=REFUSING)
    load(find(tmp_path, "m"), threads="1")
    (record,) = [record for record in caplog.records if record.message == "model takes text"]
    assert (record.max_tokens, record.long_text) == (10, "refuse")  # type: ignore[attr-defined]
    models.write_model(tmp_path, "plain", models.linear(np.ones((2, 2))), config=REFUSING)
    load(find(tmp_path, "plain"), threads="1")
    (record,) = [record for record in caplog.records if "without effect" in record.message]
    assert record.what == ["parameters.max_tokens", "parameters.long_text"]  # type: ignore[attr-defined]
