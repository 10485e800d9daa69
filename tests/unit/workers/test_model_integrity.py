"""What a model's files may ask for, and what each attack on the loader is called."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from tests import models
from workers.model.errors import ModelError
from workers.model.files import integrity, onnxfile
from workers.model.repository import ModelFiles, find
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = np.ones(2, np.float32).tobytes()


def written(folder: Path, model: bytes, weights: bytes = WEIGHTS) -> ModelFiles:
    """Write a model with external data ``w.bin`` beside it, and return its files."""
    models.write_model(folder, "m", model)
    (folder / "m" / "1" / "w.bin").write_bytes(weights)
    return find(folder, "m")


def refusal(files: ModelFiles, *, require_digests: bool = False) -> str:
    """Return the refusal without the directory that differs from run to run."""
    with pytest.raises(ModelError) as caught:
        integrity.check(files, require_digests=require_digests)
    return str(caught.value).replace(str(files.directory.parent), "...")


def model_of(*nodes: NodeProto, **parts: object) -> ModelProto:
    """Build a model from nodes alone."""
    return helper.make_model(helper.make_graph(list(nodes), "g", [], []), **parts)


def external(location: str = "w.bin", **entries: str) -> TensorProto:
    """Build a tensor FP32 [2] that lies in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def constant(tensor: TensorProto) -> NodeProto:
    """Build a node whose attribute is a tensor."""
    return helper.make_node("Constant", [], ["c"], value=tensor)


def nested(depth: int) -> NodeProto:
    """Build a node with graphs inside graphs."""
    node = helper.make_node("Identity", ["x"], ["y"])
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"], then_branch=helper.make_graph([node], "g", [], []))
    return node


def laughs(levels: int, times: int) -> ModelProto:
    """Build functions that call one another so often that inlining them never ends."""
    functions = [
        helper.make_function(
            "own",
            f"f{level}",
            [],
            [],
            [helper.make_node(f"f{level + 1}", [], [], domain="own")] * times if level < levels else [],
            [helper.make_opsetid("", 18)],
        )
        for level in range(levels + 1)
    ]
    return model_of(helper.make_node("f0", [], [], domain="own"), functions=functions)


def sparse(dims: list[int]) -> ModelProto:
    """Build a model with one stored element of a sparse tensor."""
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model = model_of(helper.make_node("Identity", ["s"], ["y"]))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))
    return model


def filled(shape: list[int]) -> ModelProto:
    """Build a model that generates a constant in a subgraph, from a shape outside of it."""
    fill = helper.make_node("ConstantOfShape", ["shape"], ["big"])
    branch = helper.make_graph([fill], "g", [], [])
    return model_of(
        helper.make_node("Constant", [], ["shape"], value_ints=shape),
        helper.make_node("If", ["c"], ["y"], then_branch=branch),
    )


def many_attributes() -> ModelProto:
    """Build a node with half a million attributes in one megabyte."""
    node = NodeProto(op_type="Identity")
    node.MergeFromString(b"\x2a\x00" * 500_001)
    return model_of(node)


def function_twice() -> ModelProto:
    """Build two functions of one name, of which a reader may see the first or the last."""
    both = [helper.make_function("own", "f", [], [], [], [helper.make_opsetid("", 18)]) for _ in "ab"]
    return model_of(functions=both)


FILE = ".../m/1/model.onnx: "
OUTSIDE = "which is not a path inside its directory; save the weights beside the model"
NEEDS = "but its shape needs 8 bytes; save it again"
TOO_MANY = (
    f"{FILE}has more than 500000 nodes, attributes and tensors, functions counted where they are called; "
    "export a smaller graph"
)
DAMAGED = FILE + "is damaged, or not an ONNX file; export or copy it again"
MALICIOUS: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "traversal": (
        lambda: model_of(constant(external("../../secret"))),
        f"{FILE}keeps tensor 'w' in external data at '../../secret', {OUTSIDE}",
    ),
    "traversal within": (
        lambda: model_of(constant(external("a/../w.bin"))),
        f"{FILE}keeps tensor 'w' in external data at 'a/../w.bin', {OUTSIDE}",
    ),
    "absolute": (
        lambda: model_of(constant(external("/etc/hostname"))),
        f"{FILE}keeps tensor 'w' in external data at '/etc/hostname', {OUTSIDE}",
    ),
    "NUL": (
        lambda: model_of(constant(external("w.bin\0"))),
        f"{FILE}keeps tensor 'w' in external data at 'w.bin\\x00', {OUTSIDE}",
    ),
    "nowhere": (
        lambda: model_of(constant(external(""))),
        f"{FILE}keeps tensor 'w' in external data at '', {OUTSIDE}",
    ),
    "memory address": (
        lambda: model_of(constant(external("*/_ORT_MEM_ADDR_/*", offset="4096"))),
        ".../m/1/*/_ORT_MEM_ADDR_/*: cannot be read (No such file or directory)",
    ),
    "directory": (
        lambda: model_of(constant(external("."))),
        f"{FILE}keeps tensor 'w' in external data at '.', {OUTSIDE}",
    ),
    "offset beyond the end": (
        lambda: model_of(constant(external(offset="4"))),
        ".../m/1/w.bin: has 8 bytes, but tensor 'w' ends at byte 12; copy the file again",
    ),
    "negative offset": (
        lambda: model_of(constant(external(offset="-8"))),
        f"{FILE}keeps tensor 'w' in external data at offset '-8' with length '8', {NEEDS}",
    ),
    "length of another shape": (
        lambda: model_of(constant(external(length="800"))),
        f"{FILE}keeps tensor 'w' in external data at offset '0' with length '800', {NEEDS}",
    ),
    "custom domain": (
        lambda: model_of(helper.make_node("Shell", [], ["y"], domain="evil")),
        (
            f"{FILE}uses operator 'Shell' of domain 'evil', but only those of ai.onnx, ai.onnx.ml, "
            "com.microsoft, com.microsoft.nchwc are allowed; export it with standard operators"
        ),
    ),
    "engine": (
        lambda: model_of(helper.make_node("EPContext", [], ["y"], domain="com.microsoft")),
        f"{FILE}contains a compiled engine (EPContext), which cannot be checked; export plain ONNX",
    ),
    "nested subgraphs": (
        lambda: model_of(nested(25)),
        f"{FILE}nests subgraphs and functions deeper than 24; export it flatter",
    ),
    "recursive function": (
        lambda: laughs(30, 1),
        f"{FILE}nests subgraphs and functions deeper than 24; export it flatter",
    ),
    "a billion laughs": (
        lambda: laughs(9, 10),
        TOO_MANY,
    ),
    "half a million attributes": (
        many_attributes,
        TOO_MANY,
    ),
    "function twice": (function_twice, f"{FILE}defines a function twice; export it again"),
    "huge dims without data": (
        lambda: model_of(constant(TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1 << 40]))),
        "declares 4398046511104 bytes of tensors, most of them in 't', but its files hold",
    ),
    "huge constant": (
        lambda: filled([1 << 20, 1 << 20]),
        "declares 4398046511104 bytes of tensors, most of them in 'big', but its files hold",
    ),
    "huge sparse tensor": (
        lambda: sparse([1 << 40]),
        "declares 4398046511116 bytes of tensors, most of them in 's', but its files hold",
    ),
    "negative dims": (
        lambda: model_of(constant(TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[-1, 3]))),
        f"{FILE}gives tensor 't' impossible dimensions [-1, 3]; export it again",
    ),
}


@pytest.mark.parametrize(("build", "cause"), MALICIOUS.values(), ids=MALICIOUS)
def test_each_attack_is_refused_by_its_name(
    tmp_path: Path, build: Callable[[], ModelProto], cause: str
) -> None:
    """The message names the file, what offends and the way out."""
    text = refusal(written(tmp_path, build().SerializeToString()))
    assert text == cause if cause.startswith("...") else cause in text


@pytest.mark.parametrize("model", [b"\0", b"no ONNX at all", models.corrupt(), b"\x08\x09"], ids=len)
def test_what_is_no_model_is_called_damaged(tmp_path: Path, model: bytes) -> None:
    """Whether it cannot be parsed or parses to nothing."""
    assert refusal(written(tmp_path, model)) == DAMAGED


def test_graphs_that_nest_beyond_the_parser_are_called_damaged(tmp_path: Path) -> None:
    """Protobuf itself ends at a hundred levels; a depth below our bound passes."""

    def delimited(field: int, body: bytes) -> bytes:
        size, prefix = len(body), bytearray([field << 3 | 2])
        while size > 127:
            prefix.append(size & 127 | 128)
            size >>= 7
        return bytes([*prefix, size]) + body

    graph = b""
    for _ in range(60):
        graph = delimited(1, delimited(5, delimited(6, graph)))
    assert refusal(written(tmp_path / "a", delimited(7, graph))) == DAMAGED
    integrity.check(written(tmp_path / "b", model_of(nested(20)).SerializeToString()))


def attribute(model: ModelProto) -> AttributeProto:
    """Add an attribute to the model's node."""
    return model.graph.node[0].attribute.add(name="a")


def function(model: ModelProto) -> FunctionProto:
    """Add a function to the model."""
    return model.functions.add(name="f", domain="own")


def branch(tensor: TensorProto) -> GraphProto:
    """Build a graph that holds a tensor."""
    return helper.make_graph([constant(tensor)], "g", [], [])


ONE = TensorProto(name="v", data_type=TensorProto.FLOAT, dims=[1])
#: Where a tensor can stand -> how it gets there.
PLACES: dict[str, Callable[[ModelProto, TensorProto], object]] = {
    "initializer": lambda m, t: m.graph.initializer.append(t),
    "sparse values": lambda m, t: m.graph.sparse_initializer.add(values=t, indices=ONE, dims=[2]),
    "sparse indices": lambda m, t: m.graph.sparse_initializer.add(values=ONE, indices=t, dims=[2]),
    "attribute": lambda m, t: attribute(m).t.CopyFrom(t),
    "attribute list": lambda m, t: attribute(m).tensors.append(t),
    "sparse attribute": lambda m, t: attribute(m).sparse_tensor.values.CopyFrom(t),
    "sparse attribute list": lambda m, t: attribute(m).sparse_tensors.add(values=t),
    "subgraph": lambda m, t: attribute(m).g.CopyFrom(branch(t)),
    "subgraph list": lambda m, t: attribute(m).graphs.append(branch(t)),
    "function": lambda m, t: function(m).node.append(constant(t)),
    "default of a function": lambda m, t: function(m).attribute_proto.add(name="a").t.CopyFrom(t),
    "training algorithm": lambda m, t: m.training_info.add().algorithm.CopyFrom(branch(t)),
    "training start": lambda m, t: m.training_info.add().initialization.CopyFrom(branch(t)),
}


@pytest.mark.parametrize("put", PLACES.values(), ids=PLACES)
def test_external_data_is_found_wherever_it_hides(
    tmp_path: Path, put: Callable[[ModelProto, TensorProto], object]
) -> None:
    """The same tensor is refused in every place, and is nobody's concern where its file is in order."""
    models_of = {"../secret": tmp_path / "a", "w.bin": tmp_path / "b"}
    files = {}
    for location, folder in models_of.items():
        model = model_of(helper.make_node("Identity", ["x"], ["y"]))
        put(model, external(location))
        files[location] = written(folder, model.SerializeToString())
    assert "in external data at '../secret'" in refusal(files["../secret"])
    integrity.check(files["w.bin"])


def test_functions_and_the_runtimes_own_operators_pass(tmp_path: Path) -> None:
    """A domain is allowed by being the runtime's, or by a function in the file whose body is in order."""
    domains = [helper.make_node("Gelu", ["x"], ["y"], domain=domain) for domain in onnxfile.DOMAINS]
    body = [helper.make_node("Relu", ["x"], ["y"])]
    function = helper.make_function("own", "f", ["x"], ["y"], body, [helper.make_opsetid("", 18)])
    call = helper.make_node("f", ["x"], ["y"], domain="own")
    integrity.check(
        written(tmp_path / "a", model_of(*domains, call, functions=[function]).SerializeToString())
    )
    function.node[0].domain = "evil"
    text = refusal(written(tmp_path / "b", model_of(call, functions=[function]).SerializeToString()))
    assert "'Relu' of domain 'evil'" in text


def test_a_file_beyond_protobuf_is_not_read(tmp_path: Path) -> None:
    """A sparse file of 2 GiB is refused by its size alone."""
    files = written(tmp_path, b"x")
    os.truncate(files.path, 1 << 31)
    assert refusal(files) == (
        f"{FILE}has 2147483648 bytes, but an ONNX file ends at 2 GiB; save the weights as external data"
    )


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    """Neither weights nor the model itself are read through a link that leaves, nor by a second name."""
    files = written(tmp_path, models.external_data("w.bin"))
    weights, secret = files.path.parent / "w.bin", tmp_path / "m" / "secret"
    integrity.check(files)
    secret.write_bytes(WEIGHTS)
    weights.unlink()
    weights.symlink_to(secret)
    assert refusal(files) == ".../m/1/w.bin: leads out of .../m/1; put a copy of the file there"
    weights.unlink()
    weights.hardlink_to(secret)
    assert refusal(files) == (
        ".../m/1/w.bin: has a second name somewhere (a hard link), which may be another's file; "
        "put a copy there"
    )
    weights.unlink()
    weights.symlink_to("w.bin")
    assert refusal(files).startswith(".../m/1/w.bin: cannot be read (")  # the rest is Python's wording
    weights.unlink()
    os.mkfifo(weights)
    assert refusal(files) == ".../m/1/w.bin: is not a regular file; put a plain copy of the file there"
    elsewhere = tmp_path / "elsewhere.onnx"
    files.path.rename(elsewhere)
    files.path.symlink_to(elsewhere)
    assert refusal(files) == ".../m/1/model.onnx: leads out of .../m; put a copy of the file there"


def test_a_mounted_config_map_serves(tmp_path: Path) -> None:
    """Links that stay inside, as Kubernetes lays them out, and a linked repository above are no escape."""
    files = written(tmp_path / "real", models.external_data("w.bin"))
    data = files.path.parent / "..2026_11"
    data.mkdir()
    (files.path.parent / "..data").symlink_to(data.name)
    for path in (files.path, files.path.parent / "w.bin"):
        path.rename(data / path.name)
        path.symlink_to(Path("..data", path.name))
    (tmp_path / "link").symlink_to("real")
    session = load(find(tmp_path / "link", "m"), threads="1")
    assert session.run({"x": np.zeros((1, 2), np.float32)})["y"].sum() == 2


#: What a check says that did not look.
UNCHECKED = onnxfile.Outline(external=(), declared=0, largest="", steady=False)


@pytest.mark.parametrize("way", ["hard link", "engine"])
def test_without_the_check_the_runtime_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Negative control: what we refuse reaches the runtime, which reads another's file or seeks an engine."""
    monkeypatch.setattr(integrity, "check", lambda *_args, **_options: UNCHECKED)
    if way == "hard link":
        files = written(tmp_path, models.external_data("w.bin"))
        (tmp_path / "secret").write_bytes(np.array([7, 7], np.float32).tobytes())
        (files.path.parent / "w.bin").unlink()
        (files.path.parent / "w.bin").hardlink_to(tmp_path / "secret")
        answer = load(files, threads="1").run({"x": np.zeros((1, 2), np.float32)})
        assert answer["y"].tolist() == [[7, 7]]
    else:
        files = written(tmp_path, MALICIOUS["engine"][0]().SerializeToString())
        with pytest.raises(ModelError, match="by the ONNX runtime"):
            load(files, threads="1")


def test_without_the_check_a_traversal_gets_to_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the runtime's own guard is then the only one."""
    files = written(tmp_path, models.external_data("../../secret"))
    with pytest.raises(ModelError, match="save the weights beside the model"):
        load(files, threads="1")
    monkeypatch.setattr(integrity, "check", lambda *_args, **_options: UNCHECKED)
    with pytest.raises(ModelError, match="cannot be loaded by the ONNX runtime"):
        load(files, threads="1")


def summed(files: ModelFiles, *names: str) -> Path:
    """Write ``SHA256SUMS`` with the real tool."""
    folder = files.path.parent
    done = subprocess.run(["sha256sum", *names], cwd=folder, check=True, capture_output=True)
    (folder / "SHA256SUMS").write_bytes(done.stdout)
    return folder / "SHA256SUMS"


def test_digests_that_match_pass(tmp_path: Path) -> None:
    """What ``sha256sum`` writes is read, in all the forms in which it writes it."""
    files = written(tmp_path, models.external_data("./w.bin"))
    sums = summed(files, "model.onnx", "./w.bin")
    integrity.check(files, require_digests=True)
    sums.write_text("# comment\n\n" + sums.read_text().replace("  ", " *").replace("./", "").upper().lower())
    integrity.check(files, require_digests=True)


def test_one_changed_byte_is_found(tmp_path: Path) -> None:
    """In the model and in its weights; the message shows how both digests begin."""
    files = written(tmp_path, models.external_data("w.bin"))
    summed(files, "model.onnx", "w.bin")
    changed = WEIGHTS[:-1] + b"\0"
    (files.path.parent / "w.bin").write_bytes(changed)
    actual, expected = (hashlib.sha256(content).hexdigest()[:12] for content in (changed, WEIGHTS))
    assert refusal(files) == (
        f".../m/1/w.bin: has SHA-256 {actual}..., but SHA256SUMS says {expected}...; "
        "copy the file again, or renew SHA256SUMS if the change is meant"
    )


def test_digests_must_be_complete(tmp_path: Path) -> None:
    """Every file that the model consists of is listed, and where digests are required there is a list."""
    files = written(tmp_path, models.external_data("w.bin"))
    assert refusal(files, require_digests=True) == (
        ".../m/1/SHA256SUMS: does not exist, but digests are required; write it with sha256sum"
    )
    for name, other in (("model.onnx", "w.bin"), ("w.bin", "model.onnx")):
        summed(files, other)
        assert refusal(files) == f".../m/1/SHA256SUMS: does not list {name!r}; write it again with sha256sum"
    sums = summed(files, "model.onnx", "w.bin")
    sums.write_text(sums.read_text() + f"{'0' * 64}  gone.bin\n")
    assert refusal(files) == ".../m/1/gone.bin: cannot be read (No such file or directory)"


LINES = {
    "nonsense\n": "line 1: is not a digest, two spaces and a file; write it with sha256sum",
    f"{'0' * 63}  model.onnx": "line 1: is not a digest, two spaces and a file; write it with sha256sum",
    f"{'0' * 64}  ../../other": "line 1: '../../other' is not a path inside the directory",
    f"{'0' * 64}  /etc/hostname": "line 1: '/etc/hostname' is not a path inside the directory",
    f"{'0' * 64}  a\n{'1' * 64}  ./a": "line 2: './a' is listed twice; list it once",
}


@pytest.mark.parametrize(("text", "cause"), LINES.items())
def test_each_mistake_in_a_list_of_digests_has_its_line(tmp_path: Path, text: str, cause: str) -> None:
    """The list is read strictly, and never beyond the directory."""
    files = written(tmp_path, models.external_data("w.bin"))
    (files.path.parent / "SHA256SUMS").write_text(text)
    assert refusal(files) == f".../m/1/SHA256SUMS: {cause}"


def test_a_list_of_digests_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """By its size, or by the first byte that is not UTF-8."""
    files = written(tmp_path, models.external_data("w.bin"))
    sums = files.path.parent / "SHA256SUMS"
    sums.write_bytes(b"a\xff")
    assert refusal(files) == ".../m/1/SHA256SUMS: is not UTF-8 text (byte 1)"
    sums.write_bytes(b"#" * ((1 << 20) + 1))
    assert "is larger than 1048576 bytes" in refusal(files)
