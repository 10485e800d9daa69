"""Loading a configuration: what is accepted, and that every complaint says where and what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config import Complaint, Config, ConfigError, load
from gateway.config.schema import Quorum

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GOOD = """\
server: {address: "127.0.0.1:0", deadline_s: 5}
models:
  svm:    {worker: {repository: models, instances: 2}}
  forest: {worker: {repository: /srv/models, model: trees, version: 3}, expose: false}
  topic:  {oip: {targets: ["10.0.0.7:8001"], model: topic_v2}, max_rows: 8}
ensembles:
  digits:
    version: "2"
    strategy: {kind: weighted_mean, output: probabilities}
    quorum: 2
    deadline_s: 0.5
    overrides: [quorum, members]
    members:
      - {model: svm, weight: 2.0}
      - {model: forest, name: trees, required: true}
      - {model: topic, timeout_s: 0.2, inputs: {x: pixels}, outputs: {probabilities: probs}}
  review:
    strategy: {kind: tasks}
    quorum: {weight: 0.6}
    members: [{model: topic}, {ensemble: digits, name: page}]
"""


def read(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    path = folder / "accord.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environment)[0]


def complaints(
    folder: Path, text: str, environment: Mapping[str, str] | None = None
) -> tuple[Complaint, ...]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environment)
    assert str(caught.value) == "\n".join(map(str, caught.value.complaints))
    return caught.value.complaints


def complaint(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Complaint:
    (only,) = complaints(folder, text, environment)
    return only


def test_a_configuration_is_read_whole(tmp_path: Path) -> None:
    """Every key arrives where it belongs; what is left out has its default."""
    config = read(tmp_path, GOOD)
    assert (config.server.address, config.server.deadline_s, config.server.edge) == (
        "127.0.0.1:0",
        5.0,
        "auto",
    )
    svm, forest, topic = config.models.values()
    assert svm.worker is not None
    assert forest.worker is not None
    assert topic.oip is not None
    assert svm.worker.repository == tmp_path / "models", "paths are relative to the file"
    assert str(forest.worker.repository) == "/srv/models"
    assert (forest.worker.model, forest.worker.version, forest.expose) == ("trees", "3", False)
    assert (topic.oip.targets, topic.max_rows, topic.expose) == (("10.0.0.7:8001",), 8, True)
    digits, review = config.ensembles.values()
    assert (digits.version, digits.quorum, digits.deadline_s) == ("2", Quorum(count=2), 0.5)
    assert digits.strategy.options == {"output": "probabilities"}
    assert [(m.seat, m.weight, m.required) for m in digits.members] == [
        ("svm", 2.0, False),
        ("trees", 1.0, True),
        ("topic", 1.0, False),
    ]
    assert digits.members[2].outputs == {"probabilities": "probs"}
    assert review.quorum == Quorum(weight=0.6)
    assert (review.members[1].target, review.members[1].seat) == ("digits", "page")


def test_a_model_in_process_is_small_and_plain_unless_told_otherwise(tmp_path: Path) -> None:
    """One thread on the CPU; paths are relative to the file, and whether to mix is left to the model."""
    entries = (
        "a: {inprocess: {repository: models}}",
        "b: {inprocess: {repository: /srv, threads: 2}, mix: true}",
    )
    models = read(tmp_path, "models:\n  " + "\n  ".join(entries)).models
    a, b = models["a"], models["b"]
    assert a.inprocess is not None
    assert b.inprocess is not None
    assert (a.inprocess.threads, a.inprocess.providers, a.mix) == (1, ("cpu",), None)
    assert (a.local, a.inprocess.repository) == (a.inprocess, tmp_path / "models")
    assert (b.inprocess.threads, b.mix) == (2, True)


@pytest.mark.parametrize("processes", [1, 64, "auto"])
def test_gateway_processes_are_a_number_or_auto(tmp_path: Path, processes: int | str) -> None:
    """Written in the file, or given by the environment."""
    text = GOOD.replace("deadline_s: 5", f"processes: {processes}", 1)
    for config in (read(tmp_path, text), read(tmp_path, GOOD, {"ACCORD_SERVER__PROCESSES": str(processes)})):
        assert config.server.processes == processes
    assert read(tmp_path, GOOD).server.processes == 1


def test_a_copy_is_read_in_the_files_place_and_named_like_it(tmp_path: Path) -> None:
    """Paths are relative to the file, and complaints name it, whatever it holds meanwhile."""
    path, copy = tmp_path / "accord.yaml", tmp_path / "run" / "copy.yaml"
    copy.parent.mkdir()
    path.write_text("changed: meanwhile")
    copy.write_text(GOOD)
    worker = load(path, copy=copy)[0].models["svm"].worker
    assert worker is not None
    assert worker.repository == tmp_path / "models"
    copy.write_text("models: 1")
    with pytest.raises(ConfigError, match=f"{path}:1: models"):
        load(path, copy=copy)


#: For each fault: what to replace in the good file, by what, then line, path and a word of the complaint.
FAULTS = {
    "unknown key": ("quorum: 2\n", "quorom: 2\n", 10, "ensembles.digits.quorom", "did you mean 'quorum'"),
    "unknown section": ("ensembles:\n", "ensemble:\n", 6, "ensemble", "did you mean 'ensembles'"),
    "unknown server key": ("deadline_s: 5", "deadlines: 5", 1, "server.deadlines", "deadline_s"),
    "wrong type": ("instances: 2", "instances: two", 3, "models.svm.worker.instances", "not 'two'"),
    "below its range": ("instances: 2", "instances: 0", 3, "models.svm.worker.instances", "greater"),
    "no backend": ("{oip: {targets", "{max_rows: 7}  # {targets", 5, "models.topic", "exactly one"),
    "two backends": (
        "{worker: {repository: models, instances: 2}}",
        "{worker: {repository: models}, inprocess: {repository: models}}",
        3,
        "models.svm",
        "exactly one of worker, inprocess, oip",
    ),
    "instances of one process": (
        "{worker: {repository: models, instances: 2}}",
        "{inprocess: {repository: models, instances: 2}}",
        3,
        "models.svm.inprocess.instances",
        "unknown key",
    ),
    "no repository": (
        "{worker: {repository: models, instances: 2}}",
        "{inprocess: {model: x}}",
        3,
        "models.svm.inprocess.repository",
        "is missing",
    ),
    "no provider": (
        "{worker: {repository: models, instances: 2}}",
        "{inprocess: {repository: models, providers: []}}",
        3,
        "models.svm.inprocess.providers",
        "at least 1",
    ),
    "perhaps mixed": ("max_rows: 8", "mix: perhaps", 5, "models.topic.mix", "boolean"),
    "missing": ("strategy: {kind: tasks}", "version: x", 17, "ensembles.review.strategy", "is missing"),
    "not a number": ("weight: 2.0", "weight: .nan", 14, "ensembles.digits.members[0].weight", "finite"),
    "weight below 0": ("weight: 2.0", "weight: -1", 14, "ensembles.digits.members[0].weight", "greater"),
    "no time": ("timeout_s: 0.2", "timeout_s: 0", 16, "ensembles.digits.members[2].timeout_s", "greater"),
    "override": ("overrides: [quorum", "overrides: [quorom", 12, "ensembles.digits.overrides[0]", "quorom"),
    "quorum 0": ("quorum: 2", "quorum: 0", 10, "ensembles.digits.quorum.count", "greater"),
    "quorum true": ("quorum: 2", "quorum: true", 10, "ensembles.digits.quorum", "True"),
    "quorum twice": ("quorum: 2", "quorum: {count: 1, weight: 1}", 10, "ensembles.digits.quorum", "{weight"),
    "quorum too high": ("quorum: 2", "quorum: 4", 10, "ensembles.digits.quorum", "only 3 members"),
    "bad name": ("  svm:    ", "  s v m:  ", 3, "models.s v m", "not a valid name"),
    "bad address": ('"127.0.0.1:0"', "localhost", 1, "server.address", "host:port"),
    "open admin": ("deadline_s: 5", "admin: '0.0.0.0:1'", 1, "server", "loopback"),
    "admin without token": ("deadline_s: 5", "admin: '127.0.0.1:1'", 1, "server", "admin_token"),
    "token missing": ("deadline_s: 5", "admin_token: none", 1, "server.admin_token", "cannot be read"),
    "long socket": (
        "deadline_s: 5",
        f"admin: 'unix:{'a' * 108}'",
        1,
        "server.admin",
        "1 to 107 bytes",
    ),
    "compression": ("deadline_s: 5", "response_compression: zip", 1, "server.response_compression", "'gzip'"),
    "no process": ("deadline_s: 5", "processes: 0", 1, "server.processes", "1 to 64, or auto, not 0"),
    "too many": ("deadline_s: 5", "processes: 65", 1, "server.processes", "1 to 64, or auto, not 65"),
    "processes true": ("deadline_s: 5", "processes: true", 1, "server.processes", "not True"),
    "processes word": ("deadline_s: 5", "processes: all", 1, "server.processes", "or auto, not 'all'"),
    "passed on": ("deadline_s: 5", "pass_metadata: [host]", 1, "server.pass_metadata[0]", "'host' belongs"),
    "polled too often": ("instances: 2", "poll_s: 0.01", 3, "models.svm.worker.poll_s", "greater"),
    "no such model": ("{model: svm,", "{model: svn,", 14, "ensembles.digits.members[0].model", "'svm'"),
    "ensemble as model": (
        "{ensemble: digits,",
        "{model: digits,",
        20,
        "ensembles.review.members[1].model",
        "write ensemble:",
    ),
    "model as ensemble": (
        "[{model: topic}",
        "[{ensemble: topic}",
        20,
        "ensembles.review.members[0].ensemble",
        "write model:",
    ),
    "no such ensemble": (
        "ensemble: digits",
        "ensemble: digit",
        20,
        "ensembles.review.members[1].ensemble",
        "'digits'",
    ),
    "no target": ("[{model: topic}", "[{weight: 1}", 20, "ensembles.review.members[0]", "exactly one"),
    "seat twice": ("name: trees", "name: svm", 15, "ensembles.digits.members[1]", "'svm' is taken"),
    "bad seat": ("name: trees", "name: a/b", 15, "ensembles.digits.members[1].name", "not a valid name"),
    "shared name": ("  review:\n", "  topic:\n", 17, "ensembles.topic", "also the name of a model"),
    "cycle": ("{model: svm, weight: 2.0}", "{ensemble: review}", 13, "ensembles.digits.members", "cycle"),
    "labels": ("    quorum: 2\n", "    labels: [a, b, a]\n", 10, "ensembles.digits.labels", "twice"),
    "no members": (
        "members: [{model: topic}, {ensemble: digits, name: page}]",
        "members: []",
        20,
        "ensembles.review.members",
        "at least 1",
    ),
    "a list": ("strategy: {kind: tasks}", "strategy: [tasks]", 18, "ensembles.review.strategy", "mapping"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_file_line_and_path(tmp_path: Path, fault: str) -> None:
    """One mistake makes one complaint, at its place, which says how to mend it."""
    old, new, line, path, word = FAULTS[fault]
    assert GOOD.count(old) == 1, "the fault must be planted exactly once"
    found = complaint(tmp_path, GOOD.replace(old, new))
    assert (found.source, found.line, found.path) == (str(tmp_path / "accord.yaml"), line, path)
    assert word in found.problem
    assert str(found) == f"{found.source}:{line}: {path}: {found.problem}"


GRAPH = """\
models:
  enc:  {oip: {targets: ["x:1"]}}
  head: {oip: {targets: ["x:1"]}}
  meta: {oip: {targets: ["x:1"]}}
ensembles:
  e:
    strategy: {kind: mean}
    members:
      - {model: enc}
      - {model: head, inputs: {x: {member: enc, output: y}}, counts: true}
      - {model: meta, inputs: {x: {stack: [{member: head, output: y}, {member: enc, output: y}]}}}
"""
HEAD = "ensembles.e.members[1]"
WRONG_GRAPHS = {
    "no such member": (
        "{member: enc, output: y}}, c",
        "{member: emc, output: y}}, c",
        10,
        f"{HEAD}.inputs.x",
        "'enc'",
    ),
    "itself": (
        "{member: enc, output: y}}, c",
        "{member: head, output: y}}, c",
        10,
        f"{HEAD}.inputs",
        "head -> head",
    ),
    "circle": (
        "{member: enc, output: y}}, c",
        "{member: meta, output: y}}, c",
        10,
        f"{HEAD}.inputs",
        "head -> meta -> head",
    ),
    "no output": (
        "{member: enc, output: y}}, c",
        "{member: enc}}, c",
        10,
        f"{HEAD}.inputs.x",
        "{member: ..., output: ...}",
    ),
    "two sources": (
        "{member: enc, output: y}}, c",
        "{request: x, member: enc, output: y}}, c",
        10,
        f"{HEAD}.inputs.x",
        "must be",
    ),
    "empty stack": (
        "{stack: [{member: head, output: y}, {member: enc, output: y}]}",
        "{stack: []}",
        11,
        "ensembles.e.members[2].inputs.x.stack",
        "at least 1",
    ),
    "a number": ("{member: enc, output: y}}, c", "7}, c", 10, f"{HEAD}.inputs.x", "mapping"),
    "unused": (
        "  - {model: meta, inputs: {x: {stack: [{member: head, output: y}, {member: enc, output: y}]}}}",
        "  - {model: meta, counts: false}",
        11,
        "ensembles.e.members[2].counts",
        "unused",
    ),
    "weight of a feeder": (
        "{model: enc}",
        "{model: enc, weight: 2}",
        9,
        "ensembles.e.members[0].weight",
        "only feeds",
    ),
    "quorum": (
        "    strategy",
        "    quorum: 3\n    strategy",
        7,
        "ensembles.e.quorum",
        "only 2 members that count",
    ),
}


@pytest.mark.parametrize("fault", WRONG_GRAPHS)
def test_each_fault_of_a_graph_is_named_at_its_edge(tmp_path: Path, fault: str) -> None:
    """Members that read members: what is missing, circular or unused is told where it stands."""
    assert read(tmp_path, GRAPH).ensembles["e"].counting == (False, True, True)
    old, new, line, path, word = WRONG_GRAPHS[fault]
    assert GRAPH.count(old) == 1, "the fault must be planted exactly once"
    found = complaint(tmp_path, GRAPH.replace(old, new))
    assert (found.line, found.path) == (line, path)
    assert word in found.problem


def test_somebody_must_count(tmp_path: Path) -> None:
    """A graph of feeders alone has no answer."""
    text = GRAPH.replace("counts: true", "counts: false").replace(
        "enc, output: y}]}}}", "enc, output: y}]}}, counts: false}"
    )
    problems = [found.problem for found in complaints(tmp_path, text)]
    assert any("let one count" in problem for problem in problems)


def test_a_seat_needs_a_name_of_its_own_where_the_models_will_not_do(tmp_path: Path) -> None:
    """A model may be called v1.2 or have a long name; a seat may not, so it must be given one."""
    for name in ("v1.2", "m" * 65):
        text = f"""
models: {{{name}: {{oip: {{targets: ["x:1"]}}}}}}
ensembles:
  e: {{strategy: {{kind: mean}}, members: [{{model: {name}}}]}}
"""
        found = complaint(tmp_path, text)
        assert (found.line, found.path) == (4, "ensembles.e.members[0]")
        assert "give it a name" in found.problem
        assert read(tmp_path, text.replace(f"model: {name}", f"model: {name}, name: short"))


def test_all_complaints_of_a_stage_come_together(tmp_path: Path) -> None:
    """Who mends a file wants to see all of it at once."""
    text = GOOD.replace("instances: 2", "instances: 0").replace("quorum: 2", "quorum: x")
    assert {c.line for c in complaints(tmp_path, text)} == {3, 10}
    text = GOOD.replace("{model: svm,", "{model: nope,").replace("ensemble: digits", "ensemble: nope")
    assert [c.line for c in complaints(tmp_path, text)] == [14, 20]


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("models: {}\nmodels: {}\n", 2, "'models' is given twice"),
        ("models:\n  a: {oip: {targets: [x], targets: [y]}}\n", 2, "'targets' is given twice"),
        ("models: {\n", 2, "YAML"),
        ("models:\n\t- x\n", 2, "YAML"),
        ("models: [a\n  b: c\n", 2, "YAML"),
        ("models: *nope\n", 1, "YAML"),
        ("? {a: {b: c}}\n", 0, "YAML"),
        ("- a\n- b\n", 1, "must be a mapping"),
        ("just text\n", 1, "must be a mapping"),
        ("", 1, "must be a mapping"),
    ],
)
def test_text_that_is_no_configuration_is_refused_at_its_line(
    tmp_path: Path, text: str, line: int, word: str
) -> None:
    """Broken YAML, duplicate keys and other documents have a line too."""
    found = complaint(tmp_path, text)
    assert found.line == line
    assert word in found.problem


def test_text_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """No depth breaks the reader."""
    assert "nested too deeply" in complaint(tmp_path, "models: " + "[" * 600).problem


@pytest.mark.parametrize("text", ["&all {a: *all}", "&all [*all]", "&all {a: {worker: *all}}"])
def test_a_document_that_contains_itself_is_refused(tmp_path: Path, text: str) -> None:
    """An alias to a part around it is no value, and no endless loop."""
    assert complaint(tmp_path, f"models: {text}\n").path.startswith("models")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Not there, not a file, not text: each is a complaint about the file."""
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"models: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "bytes.yaml")


# --- environment ---------------------------------------------------------------------------------------


def test_the_environment_overrides_server_keys(tmp_path: Path) -> None:
    """Values are read as YAML, so that numbers are numbers; variables that are not ours are left alone."""
    environment = {
        "ACCORD_SERVER__DEADLINE_S": "2.5",
        "ACCORD_SERVER__REFLECTION": "true",
        "ACCORD_SERVER__METRICS": "127.0.0.1:0",
        "ACCORD_SERVE": "x",
        "PATH": "/bin",
    }
    server = read(tmp_path, GOOD, environment).server
    assert (server.deadline_s, server.reflection, server.metrics) == (2.5, True, "127.0.0.1:0")
    assert server.address == "127.0.0.1:0", "what is not overridden stays"
    assert read(tmp_path, GOOD.split("\n", 1)[1], environment).server.deadline_s == 2.5


@pytest.mark.parametrize("text", ["x", "2001-99-99", "{", "!!python/object:os.system", "[" * 600])
def test_a_wrong_variable_is_named_and_not_the_file(tmp_path: Path, text: str) -> None:
    """Whatever it holds, the complaint is about the variable."""
    found = complaint(tmp_path, GOOD, {"ACCORD_SERVER__DEADLINE_S": text})
    assert found.source == "environment variable ACCORD_SERVER__DEADLINE_S"
    assert (found.line, found.path) == (0, "server.deadline_s")
    assert str(found).startswith("environment variable ACCORD_SERVER__DEADLINE_S: server.deadline_s: ")


def test_an_unknown_variable_is_named(tmp_path: Path) -> None:
    """A typo in a variable's name is not ignored."""
    found = complaint(tmp_path, GOOD, {"ACCORD_SERVER__DEADLINE": "1"})
    assert found.source == "environment variable ACCORD_SERVER__DEADLINE"
    assert "did you mean 'deadline_s'" in found.problem


@pytest.mark.parametrize(
    ("admin", "told"),
    [
        ('admin: "0.0.0.0:0"', "not encrypted"),
        ('admin: "127.0.0.1:0"', "must name a file"),
        ("admin_token: token", "no effect"),
        ('admin: "unix:admin.sock", admin_token: none', "cannot be read"),
    ],
)
def test_an_admin_address_is_local_and_a_port_is_guarded(tmp_path: Path, admin: str, told: str) -> None:
    """What would leave it open, or would guard nothing, is refused."""
    (tmp_path / "token").write_text("secret")
    assert told in complaint(tmp_path, GOOD.replace("server: {", f"server: {{{admin}, ")).problem


@pytest.mark.parametrize("guard", ["", ", admin_token: token"])
def test_a_socket_needs_no_token_and_may_have_one(tmp_path: Path, guard: str) -> None:
    """Its path is relative to the file."""
    (tmp_path / "token").write_text("secret")
    admin = f'server: {{admin: "unix:admin.sock"{guard}, '
    assert read(tmp_path, GOOD.replace("server: {", admin)).server.admin == f"unix:{tmp_path}/admin.sock"


def test_the_json_schema_takes_what_the_loader_takes() -> None:
    """An editor must not mark as wrong what may be written plainly."""
    parts = Config.model_json_schema()["$defs"]
    assert [kind["type"] for kind in parts["Quorum"]["anyOf"]] == ["integer", "object"]
    assert [kind["type"] for kind in parts["Source"]["anyOf"]] == ["string", "object"]
