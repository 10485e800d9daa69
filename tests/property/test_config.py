"""Configurations: whatever the file says, it loads or is refused with places; what loads can be written."""

from __future__ import annotations

import copy
import io
import math
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gateway.config import Config, ConfigError, load

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DataObject, DrawFn

GOOD: dict[str, Any] = {
    "server": {"address": "127.0.0.1:0", "deadline_s": 5, "reflection": True, "max_in_flight": 10},
    "models": {
        "svm": {"worker": {"repository": "models", "instances": 2, "providers": ["cpu"]}},
        "forest": {"worker": {"repository": "/srv", "model": "trees", "version": "3"}, "expose": False},
        "topic": {"oip": {"targets": ["10.0.0.7:8001"], "model": "topic_v2"}, "max_rows": 8},
    },
    "ensembles": {
        "digits": {
            "version": "2",
            "strategy": {"kind": "weighted_mean", "output": "probabilities"},
            "quorum": 2,
            "deadline_s": 0.5,
            "nonfinite": "fail",
            "labels": ["a", "b"],
            "overrides": ["quorum", "members"],
            "members": [
                {"model": "svm", "weight": 2.0},
                {"model": "forest", "name": "trees", "required": True},
                {"model": "topic", "timeout_s": 0.2, "inputs": {"x": "pixels"}, "outputs": {"p": "q"}},
            ],
        },
        "review": {
            "strategy": {"kind": "tasks"},
            "quorum": {"weight": 0.6},
            "members": [{"model": "topic"}, {"ensemble": "digits", "name": "page"}],
        },
    },
}
WORDS = [
    *GOOD["models"],
    *GOOD["ensembles"],
    "quorum",
    "quorom",
    "members",
    "model",
    "cpu",
    "",
    "a b",
    "ü",
    "\x7f",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.integers(-1, 3),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.dates(),
    st.binary(max_size=4),
)
KEYS = st.one_of(st.sampled_from(WORDS), st.integers(-1, 3), st.booleans(), st.none(), st.dates())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "accord.yaml"


def written(tree: Any) -> str:
    stream = io.StringIO()
    YAML(typ="safe").dump(tree, stream)
    return stream.getvalue()


def places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all parts of a document."""
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(place for key, part in parts for place in places(part, (*at, key)))]


@st.composite
def mutated(draw: DrawFn) -> Any:
    """The good document after up to three parts were dropped, renamed, copied, moved or replaced."""
    tree: Any = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(tree)[1:] or [(None,)]))
        parent: Any = tree
        for key in above:
            parent = parent[key]
        if last is None:
            break
        match draw(st.sampled_from(["drop", "rename", "copy", "replace", "swap"])):
            case "drop":
                del parent[last]
            case "rename" if isinstance(parent, dict):
                parent[draw(KEYS)] = parent.pop(last)
            case "copy" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case "swap":
                other = draw(st.sampled_from(places(tree)))
                part: Any = tree
                for key in other:
                    part = part[key]
                parent[last] = copy.deepcopy(part)
            case _:
                parent[last] = draw(VALUES)
        if not tree:
            break
    return tree


def loads_or_complains(path: Path, text: str, *, lines: int) -> Config | None:
    """Load; or check that every complaint has a place in the file and reads as one line."""
    try:
        return load(path)[0]
    except ConfigError as error:
        assert error.complaints
        for complaint in error.complaints:
            assert complaint.source == str(path), text
            # where the parser itself trips over an odd document, it knows no line
            known = complaint.line or not complaint.problem.startswith("is not valid YAML: ")
            assert complaint.line in (range(1, lines + 1) if known else (0,)), (complaint, text)
            assert complaint.problem, text
            assert str(complaint).startswith(f"{path}:{complaint.line}: " if known else f"{path}: "), text
        return None


SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(mutated())
def test_a_mutated_configuration_loads_or_is_refused_with_places(path: Path, tree: Any) -> None:
    """Dropped, renamed, moved, copied and replaced parts: a configuration or complaints, nothing else."""
    text = written(tree)
    path.write_text(text, encoding="utf-8")
    loads_or_complains(path, text, lines=text.count("\n") + 1)


@SETTINGS
@given(st.data())
def test_mutilated_text_loads_or_is_refused_with_places(path: Path, data: DataObject) -> None:
    """Characters lost, doubled and strewn in: YAML or not, the reader survives and says where."""
    text = written(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 4))
        text = text[:at] + data.draw(st.text("[]{}:,&*!|>-#%@`'\"\n\t ?x0~<", max_size=4)) + text[at + cut :]
    path.write_text(text, encoding="utf-8")
    loads_or_complains(path, text, lines=text.count("\n") + 2)


@SETTINGS
@given(st.data())
def test_a_key_given_twice_is_refused_at_its_line(path: Path, data: DataObject) -> None:
    """Wherever a line with a key is doubled, the second one is named."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(GOOD, stream)
    lines = stream.getvalue().splitlines()
    leaves = [i for i, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("-")]
    at = data.draw(st.sampled_from(leaves))
    lines.insert(at + 1, lines[at])
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    (complaint,) = caught.value.complaints
    assert complaint.line == at + 2
    assert repr(lines[at].split(":")[0].strip()) in complaint.problem


@st.composite
def valid(draw: DrawFn) -> dict[str, Any]:
    """A document in which everything that may be said is said, or not, at random."""
    name = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
    names = draw(st.lists(name, min_size=2, max_size=5, unique=True))
    cut = draw(st.integers(1, len(names) - 1))
    models, ensembles = names[:cut], names[cut:]
    seconds = st.floats(0.001, 86_400)

    def maybe(**options: st.SearchStrategy[Any]) -> dict[str, Any]:
        return {key: draw(value) for key, value in options.items() if draw(st.booleans())}

    def model() -> dict[str, Any]:
        common = maybe(expose=st.booleans(), max_rows=st.integers(1, 65_536))
        if draw(st.booleans()):
            return {"oip": {"targets": ["h:1"], **maybe(version=st.integers(0, 9).map(str))}, **common}
        worker = maybe(
            instances=st.integers(1, 64),
            threads=st.integers(1, 256),
            version=st.sampled_from(["", "1", "v2"]),
            providers=st.sampled_from([["cpu"], ["cuda", "cpu"]]),
        )
        return {"worker": {"repository": draw(st.sampled_from(["m", "../x", "/abs"])), **worker}, **common}

    def ensemble(inner: list[str]) -> dict[str, Any]:
        def some(pool: list[str]) -> list[str]:
            return draw(st.lists(st.sampled_from(pool), max_size=3, unique=True)) if pool else []

        members = [
            {kind: name, **maybe(weight=st.floats(0, 1e6), required=st.booleans(), timeout_s=seconds)}
            for kind, pool in (("model", models), ("ensemble", inner))
            for name in some(pool)
        ] or [{"model": models[0]}]
        quorum = st.one_of(
            st.integers(1, len(members)),
            st.floats(0.01, 1).map(lambda weight: {"weight": weight}),
        )
        kind = draw(st.sampled_from(["mean", "tasks", "soft_vote"]))
        return {
            "strategy": {"kind": kind, **maybe(output=st.text("abc", min_size=1, max_size=3))},
            "members": members,
            **maybe(
                quorum=quorum,
                deadline_s=seconds,
                nonfinite=st.sampled_from(["drop", "pass", "fail"]),
                labels=st.lists(st.text("xyz", min_size=1, max_size=3), max_size=3, unique=True),
                overrides=st.lists(st.sampled_from(["members", "quorum"]), unique=True),
                version=st.sampled_from(["1", "2.0-rc"]),
            ),
        }

    return {
        "server": maybe(deadline_s=seconds, drain_s=st.floats(0, 3600), reflection=st.booleans()),
        "models": {name: model() for name in models},
        "ensembles": {name: ensemble(ensembles[:i]) for i, name in enumerate(ensembles)},
    }


@settings(SETTINGS, max_examples=30)
@given(valid(), st.booleans())
def test_what_is_loaded_can_be_written_and_loaded_again(
    path: Path, tree: dict[str, Any], brief: bool
) -> None:
    """Nothing that a configuration says is lost on the way through the file."""
    path.write_text(written(tree), encoding="utf-8")
    config = load(path)[0]
    again = config.model_dump(mode="json", exclude_defaults=brief)
    path.write_text(written(again), encoding="utf-8")
    assert load(path)[0] == config


def test_the_generators_reach_both_ends(path: Path) -> None:
    """Negative control: the good document loads, and one with a wrong value does not."""
    path.write_text(written(GOOD), encoding="utf-8")
    assert loads_or_complains(path, "", lines=1) is not None
    path.write_text(written(GOOD | {"models": {"svm": math.pi, "day": date(2001, 1, 1)}}), encoding="utf-8")
    assert loads_or_complains(path, "", lines=99) is None
