"""Raw texts to real servers: each caller gets the answer to its own text, whoever asks beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from protos.tensor import Tensor
from tests import models, texts
from tests.interop.asking import ask_texts, infer
from tests.serving import eventually, failed, listening, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLERS = 1000
#: It lets requests share runs, and refuses what is longer than sixty tokens.
PATIENT = """
max_batch_size: 64
dynamic_batching { max_queue_delay_microseconds: 2000 }
parameters { key: "max_tokens" value { string_value: "60" } }
parameters { key: "long_text" value { string_value: "refuse" } }
"""
LABELS = """
input { name: "x" data_type: TYPE_INT64 dims: [-1] }
output { name: "label" data_type: TYPE_STRING dims: [-1] label_filename: "labels.txt" }
"""
CONFIG = """
models:
  patient: {worker: {repository: models, threads: 1}}
  inside: {inprocess: {repository: models, model: patient}}
  named: {inprocess: {repository: models}}
ensembles:
  both:
    strategy: {kind: mean}
    members: [{model: patient}, {model: inside}]
"""


def mixed(count: int, seed: int) -> list[str]:
    """Return texts of many lengths, most of them short, as people write."""
    random = np.random.default_rng(seed)
    lengths = np.minimum(random.geometric(0.12, count) - 1, 58)
    return [" ".join(f"w{word}" for word in random.integers(0, 60, length)) for length in lengths]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a worker process."""
    folder = tmp_path_factory.mktemp("w")
    texts.write_text_model(folder, "m", config=PATIENT)
    command = [sys.executable, "-m", "workers.main", "--repository", str(folder), "--model", "m"]
    more = ["--address", "127.0.0.1:0", "--threads", "1", "--max-queued", str(CALLERS)]
    with listening([*command, *more], folder / "log") as (_, address):
        yield address


def test_a_thousand_callers_of_a_worker_get_their_own_answers(worker: str) -> None:
    """All at once, short and long; those whose text is too long are refused, and nobody else."""
    sent = mixed(CALLERS, 1)
    guilty = range(50, CALLERS, 100)
    for place in guilty:
        sent[place] = " ".join(["w7"] * (59 + place % 7))
    answers = ask_texts(worker, "m", sent)
    for place, (text, answer) in enumerate(zip(sent, answers, strict=True)):
        if place in guilty:
            assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
            assert answer.message.startswith(f"row 0 of input 'text' has {61 + place % 7} tokens, ")
        else:
            assert answer.embedding is not None, answer.message
            np.testing.assert_allclose(answer.embedding, texts.mean_of(text), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway whose text model runs in a worker, and in its own process."""
    folder = tmp_path_factory.mktemp("g")
    texts.write_text_model(folder / "models", "patient", config=PATIENT)
    models.write_model(
        folder / "models", "named", texts.picks(), config=LABELS, files={"labels.txt": "no\nso-so\nyes\n"}
    )
    (folder / "accord.yaml").write_text(CONFIG)
    server = serve(folder / "accord.yaml", folder)
    yield server.address
    assert server.stop() == 0


@pytest.mark.parametrize("model", ["both", "patient", "inside"])
def test_callers_of_a_gateway_get_their_own_answers(gateway: str, model: str) -> None:
    """From a worker, from a model in process, and from an ensemble of both."""
    sent = mixed(200, 2)
    sent[100] = " ".join(["w7"] * 60)
    answers = ask_texts(gateway, model, sent)
    assert [place for place, answer in enumerate(answers) if answer.embedding is None] == [100]
    assert answers[100].code is grpc.StatusCode.INVALID_ARGUMENT
    expected = [texts.mean_of(text) for text in sent if text != sent[100]]
    got = [answer.embedding for answer in answers if answer.embedding is not None]
    np.testing.assert_allclose(np.stack(got), np.stack(expected), rtol=0, atol=1e-5)


def test_labels_are_answered_by_name(gateway: str) -> None:
    """And a number without a label is an internal error that tells its caller nothing."""
    with grpc.insecure_channel(gateway) as channel:
        answer = infer(channel, "named", {"x": Tensor.from_array(np.array([2, 0, 1]))})
        assert answer["label"].array().tolist() == [b"yes", b"no", b"so-so"]
        told = failed(lambda: infer(channel, "named", {"x": Tensor.from_array(np.array([0, 77777]))}))
    assert told.code == "INTERNAL"
    assert "77777" not in told.message


def test_a_changed_tokenizer_is_taken_up(tmp_path: Path) -> None:
    """By a worker that looks for changes: the same text has other tokens."""
    config = 'parameters { key: "long_text" value { string_value: "refuse" } }'
    folder = texts.write_text_model(tmp_path, "m", config=config)
    command = [sys.executable, "-m", "workers.main", "--repository", str(folder), "--model", "m"]
    more = ["--address", "127.0.0.1:0", "--threads", "1", "--control", "poll", "--poll-s", "0.1"]
    with listening([*command, *more], folder / "log") as (_, address):
        assert ask_texts(address, "m", ["w1 w2 w3"])[0].embedding is not None
        texts.write_text_model(tmp_path, "m", config=config, tokens=texts.tokenizer(longest=4))
        eventually(
            lambda: "1 more than the 4" in ask_texts(address, "m", ["w1 w2 w3"])[0].message,
            within_s=15,
            what="the tokenizer is taken up",
        )
