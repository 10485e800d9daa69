"""The same models in our workers and in a real Triton say and answer the same, and are one line apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tritonclient.grpc as sync_client

from tests.interop.conformance.case import TRITON, WORKER, Ask
from tests.interop.conformance.targets import DIGITS, NOT_FOR_TRITON, names
from tests.serving import Served, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.interop.conformance.clients import Client

# the first run downloads
pytestmark = pytest.mark.timeout(900)

#: What a ModelConfig may say otherwise, and why.
OTHERWISE = {
    "backend": "Triton's own ONNX backend is not in the package; its Python backend runs the ONNX file",
    "platform": "likewise: the Python backend has none",
    "default_model_filename": "Triton fills in what its backend looks for",
    "instance_group": "Triton fills in where it runs the model",
    "optimization": "Triton fills in its defaults",
    "parameters": "the threads of the Python backend's runs; here, whether rows are independent",
    "version_policy": "Triton fills in its default, the latest version",
}
#: Rows of rank 0 cannot be written in a Triton config, so these models do not batch there.
RANK_ONE = ("picky",)

MOVED = DIGITS[0]
CONFIG = """
models:
  digits-linear: {{worker: {{repository: {repository}, threads: 1}}}}
  digits-svm: {{worker: {{repository: {repository}, threads: 1}}}}
  digits-forest: {{worker: {{repository: {repository}, threads: 1}}}}
ensembles:
  digits:
    strategy: {{kind: soft_vote, output: probabilities}}
    members: [{{model: digits-linear}}, {{model: digits-svm}}, {{model: digits-forest}}]
"""


@pytest.fixture(scope="module")
def here(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway whose members are all its own workers."""
    yield from _served(CONFIG.format(repository=digits), tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def elsewhere(client: Callable[[str, str], Client]) -> str:
    """Triton's address."""
    return client(TRITON, "sync").target.where(MOVED)


@pytest.fixture(scope="module")
def swapped(digits: Path, elsewhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same gateway, but for one line of its configuration."""
    ours = f"  {MOVED}: {{worker: {{repository: {digits}, threads: 1}}}}\n"
    theirs = f'  {MOVED}: {{oip: {{targets: ["{elsewhere}"]}}}}\n'
    config = CONFIG.format(repository=digits)
    assert config.count(ours) == 1
    yield from _served(config.replace(ours, theirs), tmp_path_factory.mktemp("swapped"))


def _served(config: str, folder: Path) -> Iterator[Served]:
    (folder / "accord.yaml").write_text(config)
    server = serve(folder / "accord.yaml", folder)
    yield server
    assert server.stop() == 0


def answers(address: str, model: str) -> list[Any]:
    """Return the tensors, bytes and all, for batches of several sizes."""
    rng = np.random.default_rng(20)
    found = []
    with sync_client.InferenceServerClient(address) as client:
        for rows in (1, 7, 32):
            pixels = sync_client.InferInput("pixels", [rows, 64], "FP32")
            pixels.set_data_from_numpy(rng.integers(0, 17, (rows, 64)).astype(np.float32))
            message = client.infer(model, [pixels]).get_response()
            told = zip(message.outputs, message.raw_output_contents, strict=True)
            found.append({t.name: (t.datatype, tuple(t.shape), raw) for t, raw in told})
    return found


def test_every_member_answers_the_same_bits(here: Served, elsewhere: str) -> None:
    """A worker's tensors and Triton's are the same bytes, for each model and number of rows."""
    for model in DIGITS:
        assert answers(here.address, model) == answers(elsewhere, model)


def test_a_member_moves_to_triton_by_one_line(here: Served, swapped: Served) -> None:
    """The ensemble with one member in Triton answers the same bytes as with all in workers."""
    assert MOVED in {worker["model"] for worker in here.facts()["workers"]}
    assert MOVED not in {worker["model"] for worker in swapped.facts()["workers"]}
    assert answers(here.address, "digits") == answers(swapped.address, "digits")


def test_metadata_is_the_same_but_for_the_platform(
    client: Callable[[str, str], Client], repository: Path
) -> None:
    """Names, versions, datatypes and shapes of every model, in the same order."""
    for model in shared(repository):
        ours, theirs = (
            client(server, "sync").see(Ask("get_model_metadata", model), lambda answer: answer)
            for server in (WORKER, TRITON)
        )
        assert (ours.platform, theirs.platform) == ("onnxruntime_onnx", "python")
        theirs.platform = ours.platform
        assert ours == theirs


def test_config_is_the_same_but_for_what_is_listed(
    client: Callable[[str, str], Client], repository: Path
) -> None:
    """Each field of a config that differs stands in the list with its reason, and no reason is idle."""
    differ = set()
    for model in shared(repository):
        if model in RANK_ONE:
            continue
        ours, theirs = (
            client(server, "sync").see(Ask("get_model_config", model), lambda answer: answer.config)
            for server in (WORKER, TRITON)
        )
        differ |= {f.name for f in ours.DESCRIPTOR.fields if getattr(ours, f.name) != getattr(theirs, f.name)}
    assert differ == OTHERWISE.keys()


def shared(repository: Path) -> list[str]:
    return [model for model in names(repository) if model not in NOT_FOR_TRITON]
