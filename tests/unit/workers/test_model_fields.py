"""What each field of a config.pbtxt does, and that none is passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from protos.oip import model_config
from tests.models import linear, write_model
from workers.model import fields
from workers.model.errors import ModelError
from workers.model.fields import FIELDS, Effect, Field, entry_of, said, without_effect
from workers.model.repository import find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = model_config.ModelConfig.DESCRIPTOR


def _inner(descriptor: Any) -> Any:
    """The message type inside a field; None for scalars."""
    kind = descriptor.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return kind.fields_by_name["value"].message_type
    return kind


def leaves(schema: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for descriptor in schema.fields:
        path = (*above, descriptor.name)
        inner = _inner(descriptor)
        if inner is None:
            yield path
        else:
            yield from leaves(inner, path)


def only(path: tuple[str, ...]) -> Any:
    """A config that sets this field and nothing else."""
    message = model_config.ModelConfig()
    target = message
    for name in path[:-1]:
        descriptor = target.DESCRIPTOR.fields_by_name[name]
        value = getattr(target, name)
        if descriptor.message_type.GetOptions().map_entry:
            key = (
                "key"
                if descriptor.message_type.fields_by_name["key"].cpp_type == descriptor.CPPTYPE_STRING
                else 1
            )
            target = value[key]
        else:
            target = value.add() if descriptor.is_repeated else value
    descriptor = target.DESCRIPTOR.fields_by_name[path[-1]]
    if descriptor.message_type is not None:
        getattr(target, path[-1])["key"] = "value"
    elif descriptor.is_repeated:
        getattr(target, path[-1]).append("1" if descriptor.cpp_type == descriptor.CPPTYPE_STRING else 1)
    else:
        setattr(target, path[-1], "1" if descriptor.cpp_type == descriptor.CPPTYPE_STRING else 1)
    return message


ALL = list(leaves(SCHEMA))


@pytest.mark.parametrize("path", ALL, ids=".".join)
def test_every_field_is_offered_refused_or_named(path: tuple[str, ...]) -> None:
    """A config that sets one field of Triton's schema meets an entry, and is named if it has no effect."""
    dotted = ".".join(path)
    paths = said(only(path))
    assert paths == (dotted,)
    effect = FIELDS[entry_of(dotted)].effect
    assert without_effect(paths) == ((dotted,) if effect is Effect.NONE else ())


def test_every_entry_is_a_field_of_tritons() -> None:
    """No entry speaks for a field that the schema does not have."""
    for entry in FIELDS:
        assert any(f"{'.'.join(path)}.".startswith(f"{entry}.") for path in ALL), entry


def test_a_field_that_nobody_thought_of_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its entry a field counts as one without effect, not as one that is offered."""
    monkeypatch.delitem(FIELDS, "instance_group.name")
    monkeypatch.delitem(FIELDS, "instance_group")
    monkeypatch.delitem(FIELDS, "metric_tags")
    message = model_config.ModelConfig(instance_group=[{"name": "a", "count": 2}], metric_tags={"a": "b"})
    assert without_effect(said(message)) == ("instance_group.name", "metric_tags")


def test_an_empty_section_says_nothing_unless_it_has_an_entry() -> None:
    """``response_cache {}`` is the default, ``input_pinned_memory {}`` is the opposite of it."""
    message = model_config.ModelConfig(
        response_cache={}, sequence_batching={}, optimization={"graph": {}, "input_pinned_memory": {}}
    )
    paths = said(message)
    assert "sequence_batching" in paths
    assert FIELDS[entry_of("sequence_batching")].effect is Effect.REFUSED
    assert without_effect(paths) == ("optimization.input_pinned_memory",)


def test_a_field_is_named_once() -> None:
    """Two groups with the same useless field are one warning."""
    message = model_config.ModelConfig(
        instance_group=[{"host_policy": "a"}, {"host_policy": "b", "count": 2}]
    )
    assert without_effect(said(message)) == ("instance_group.host_policy",)


@pytest.mark.parametrize("entry", [path for path, field in FIELDS.items() if field.effect is Effect.REFUSED])
def test_what_is_refused_stops_the_model_with_the_reason(tmp_path: Path, entry: str) -> None:
    """The message names the field and says what to do instead."""
    path = next(path for path in ALL if f"{'.'.join(path)}.".startswith(f"{entry}."))
    message = only(path)
    if path[0] in ("input", "output"):
        getattr(message, path[0])[0].name = "x"
    message.name = "m"
    with pytest.raises(ModelError) as caught:
        find(write_model(tmp_path, "m", linear(np.eye(2)), config=str(message)), "m")
    assert caught.value.cause == f"{entry} is not offered: {FIELDS[entry].text}"


def test_the_tables_do_not_overlap() -> None:
    """A field has one effect."""
    tables = (fields._OFFERED, fields._REFUSED, fields._NONE)
    assert sum(map(len, tables)) == len(FIELDS)
    assert all(isinstance(field, Field) and field.text for field in FIELDS.values())
