"""Clients of other people and in other languages, as they are, get what the example page says they get."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from accord.client import Client
from bench.peers.environment import environment
from protos import oip
from tests import models
from tests.interop.clients import GRPCURL, HEALTH_PROBE, ROOT, SOURCES, Recipe, build, program, recipes, run
from tests.serving import Served, eventually, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from google.protobuf.descriptor import Descriptor

    from deploy.gotool import GoTool

# the first run downloads and builds
pytestmark = pytest.mark.timeout(900)

PUBLISHED = SOURCES / "protos" / "open_inference.proto"
RECIPES = list(recipes())
RESET = "\x1b[0m"  # Maven's last word, whatever it is told of colours
TOOL_CHAINS = {"Go": ("go", "Go"), "TypeScript": ("npm", "Node.js"), "Java": ("mvn", "a JDK and Maven")}
TOOLS = {"grpcurl": GRPCURL, "grpc_health_probe": HEALTH_PROBE}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = serve(ROOT / "examples" / "digits.yaml", tmp_path_factory.mktemp("digits"))
    yield server
    assert server.stop() == 0


def test_the_page_shows_every_client() -> None:
    """No program lies in the folder that the page does not run."""
    asked = " ".join(f"{recipe.folder} {recipe.ask}" for recipe in RECIPES)
    scripts = [path.name for path in (SOURCES / "python").glob("*.py")]
    assert all(
        name in asked for name in ["go", "typescript", "java", "grpcurl", "grpc-health-probe", *scripts]
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.title}: {recipe.ask}")
def test_a_client_prints_what_the_page_shows(digits: Served, recipe: Recipe) -> None:
    """The page's commands, word for word but for the address, print the page's text and end well."""
    done = run(recipe.ask, build(recipe), address=digits.address, path=programs(recipe))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout or done.stderr  # the health probe speaks on standard error
    assert said.replace(RESET, "").strip() == recipe.shown.strip()


def programs(recipe: Recipe) -> tuple[Path, ...]:
    """Return where the recipe's programs are, or skip where its tool chain is missing."""
    if recipe.title in TOOL_CHAINS:
        needed, what = TOOL_CHAINS[recipe.title]
        if shutil.which(needed) is None:
            pytest.skip(f"needs {what}")
    if recipe.title == "KServe":
        return (environment("kserve").python.parent,)
    if recipe.title in TOOLS:
        return (go_program(TOOLS[recipe.title]).parent,)
    return ()


def go_program(tool: GoTool) -> Path:
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    return program(tool)


# The published protocol


def fields(message: Descriptor) -> dict[str, tuple[object, ...]]:
    """Return what makes a message on the wire and in JSON, nested messages and map entries included."""
    found: dict[str, tuple[object, ...]] = {}
    for field in message.fields:
        kind = field.message_type.full_name if field.message_type else field.type
        choice = field.containing_oneof.name if field.containing_oneof else ""
        found[field.full_name] = (field.number, kind, field.is_repeated, choice, field.json_name)
    for nested in message.nested_types:
        found |= fields(nested)
    return found


def all_fields(messages: Mapping[str, Descriptor]) -> dict[str, tuple[object, ...]]:
    return {name: what for message in messages.values() for name, what in fields(message).items()}


def read(serialised: bytes) -> Any:
    """Return the file that a serialised description describes."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(serialised)
    return pool.FindFileByName(descriptor_pb2.FileDescriptorProto.FromString(serialised).name)


def compiled(proto: Path, folder: Path) -> Any:
    out = folder / "descriptors"
    arguments = [f"-I{proto.parent}", f"--descriptor_set_out={out}", str(proto)]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    return read(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0].SerializeToString())


def calls(file: Any) -> dict[str, tuple[str, str]]:
    service = file.services_by_name["GRPCInferenceService"]
    return {m.name: (m.input_type.full_name, m.output_type.full_name) for m in service.methods}


def test_the_published_protocol_is_tritons(tmp_path: Path) -> None:
    """All it defines has the names, numbers and types of the modules that Accord itself speaks with."""
    ours, theirs = compiled(PUBLISHED, tmp_path), oip.messages.DESCRIPTOR
    same = {name: theirs.message_types_by_name[name] for name in ours.message_types_by_name}
    assert all_fields(ours.message_types_by_name) == all_fields(same)
    assert calls(ours).items() <= calls(theirs).items()
    assert ours.services_by_name["GRPCInferenceService"].full_name == oip.SERVICE


@pytest.mark.parametrize(
    ("true", "false"),
    [
        ("string id = 3;", "string id = 8;"),
        ("repeated float fp32", "repeated double fp32"),
        ("bool ready", "bool is_ready"),
        ("repeated bytes raw_output", "bytes raw_output"),
    ],
)
def test_a_false_protocol_is_noticed(tmp_path: Path, true: str, false: str) -> None:
    """The comparison above sees a wrong number, type, name or label."""
    text = PUBLISHED.read_text("utf-8")
    assert true in text
    (tmp_path / "false.proto").write_text(text.replace(true, false))
    ours, theirs = compiled(tmp_path / "false.proto", tmp_path), oip.messages.DESCRIPTOR
    same = {name: theirs.message_types_by_name[name] for name in ours.message_types_by_name}
    assert all_fields(ours.message_types_by_name) != all_fields(same)


def test_the_published_protocol_is_kserves(tmp_path: Path) -> None:
    """What KServe's own modules say of the same fields is the same."""
    source = "import sys; from kserve.protocol.grpc.grpc_predict_v2_pb2 import DESCRIPTOR as d; "
    done = subprocess.run(
        [environment("kserve").python, "-P", "-c", source + "sys.stdout.buffer.write(d.serialized_pb)"],
        capture_output=True,
        check=True,
    )
    ours, theirs = compiled(PUBLISHED, tmp_path), read(done.stdout)
    mine, other = all_fields(ours.message_types_by_name), all_fields(theirs.message_types_by_name)
    shared = mine.keys() & other.keys()
    assert {name: mine[name] for name in shared} == {name: other[name] for name in shared}
    assert len(shared) > 40
    assert calls(ours).items() <= calls(theirs).items()


# grpcurl: no stubs at all


def ask(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [go_program(GRPCURL), "-plaintext", *arguments[:-1], address, *arguments[-1].split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(address: str, *arguments: str) -> Any:
    done = ask(address, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def question(pixels: int) -> str:
    contents = {"fp32_contents": [16.0] * pixels}
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [1, pixels], "contents": contents}
    return json.dumps({"model_name": "digits", "id": "mine", "inputs": [tensor]})


def test_reflection_describes_all_that_is_listed(digits: Served) -> None:
    """Each listed service is described with its methods, and so is a message of an error's details."""
    listed = ask(digits.address, "list").stdout.split()
    assert oip.SERVICE in listed
    for name in listed:
        assert "rpc " in ask(digits.address, f"describe {name}").stdout, name
    described = ask(digits.address, f"describe {oip.SERVICE}").stdout
    assert all(f"rpc {method} " in described for method in oip.METHODS)
    assert (
        "accord.v1.MemberError is a message" in ask(digits.address, "describe accord.v1.MemberError").stdout
    )


def test_json_with_typed_contents_is_answered(digits: Served) -> None:
    """A person with a terminal and no stubs gets metadata and an answer with the id of the question."""
    server = told(digits.address, f"{oip.SERVICE}/ServerMetadata")
    assert server["name"] == "accord"
    answer = told(digits.address, "-d", question(64), f"{oip.SERVICE}/ModelInfer")
    assert answer["id"] == "mine"
    assert [output["name"] for output in answer["outputs"]] == ["probabilities", "label"]
    assert answer["outputs"][0]["shape"] == ["1", "10"]


def test_a_refusal_is_read_without_stubs(digits: Served) -> None:
    """The details of an error are decoded: its reason, its domain and the field that is wrong."""
    done = ask(digits.address, "-d", question(63), f"{oip.SERVICE}/ModelInfer")
    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    assert '"reason": "SHAPE_MISMATCH"' in done.stderr
    assert '"field": "inputs[0].shape"' in done.stderr


# Connections that are kept


def watched(address: str) -> tuple[grpc.Channel, list[str]]:
    """Return a channel that pings more often than calls come, and the states it has been in."""
    states: list[str] = []
    every = [("grpc.keepalive_time_ms", 5_500), ("grpc.keepalive_permit_without_calls", 1)]
    channel = grpc.insecure_channel(address, [*every, ("grpc.http2.max_pings_without_data", 0)])
    channel.subscribe(lambda state: states.append(state.name), try_to_connect=True)
    return channel, states


def test_an_idle_client_may_keep_its_connection_alive(digits: Served) -> None:
    """Pings without calls are no abuse, while gRPC's own settings send the same client away."""
    strict = grpc.server(ThreadPoolExecutor(1))
    port = strict.add_insecure_port("127.0.0.1:0")
    strict.start()
    (one, kept), (two, sent_away) = watched(digits.address), watched(f"127.0.0.1:{port}")
    with one, two:
        connected = ["READY"]
        eventually(lambda: kept[-1:] == sent_away[-1:] == connected, within_s=10, what="both are connected")
        eventually(
            lambda: sent_away[-1:] != connected, within_s=60, what="the strict server says too_many_pings"
        )
        assert kept[-1:] == connected
        assert kept.count("READY") == 1
    strict.stop(None)


# grpc_health_probe: what Kubernetes runs where it has no probe of its own


def probe(address: str, service: str = "") -> int:
    arguments = [str(go_program(HEALTH_PROBE)), "-addr", address, "-service", service]
    return subprocess.run(arguments, capture_output=True, timeout=30, check=False).returncode


@pytest.mark.parametrize(
    ("service", "healthy"), [("", True), ("digits", True), ("digits-svm", True), ("unheard-of", False)]
)
def test_the_probe_tells_what_takes_requests(digits: Served, service: str, *, healthy: bool) -> None:
    """Exit code 0 for the server and for each name that it serves, another one for any other name."""
    assert (probe(digits.address, service) == 0) is healthy


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Served]:
    """A server whose one model takes as long as it is told to."""
    models.write_model(tmp_path / "models", "slow", models.slow())
    config = tmp_path / "accord.yaml"
    config.write_text("server: {drain_s: 50}\nmodels: {slow: {worker: {repository: models}}}")
    server = serve(config, tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


def test_the_probe_fails_while_a_server_drains(slow: Served) -> None:
    """From the signal on it fails, though a call in flight is still being answered."""
    go_program(HEALTH_PROBE)
    address, answers = slow.address, []

    def wait_for_answer() -> None:
        with Client(address) as client:
            steps = {"steps": np.array([400_000])}
            answers.extend(client.infer("slow", steps, timeout_s=50).outputs["y"].tolist())

    assert probe(address) == probe(address, "slow") == 0
    waiting = threading.Thread(target=wait_for_answer)
    waiting.start()
    eventually(lambda: "accord_in_flight 1.0" in metrics(slow), within_s=10, what="the call is in flight")
    slow.process.send_signal(signal.SIGTERM)
    eventually(lambda: probe(address) != 0, within_s=10, what="the probe fails")
    assert not answers
    waiting.join()
    assert answers == [400_000]
    assert slow.process.wait(20) == 0


def metrics(served: Served) -> str:
    with urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=5) as answer:
        return str(answer.read().decode())
