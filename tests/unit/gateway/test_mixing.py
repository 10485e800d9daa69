"""Whether requests may share a call: the operator's word, a proof, or what a server does anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.config.schema import Model
from gateway.engine.mixing import may_mix
from protos.model import ModelSpec, declare_independent, independent_of
from protos.oip import model_config

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = model_config.ModelConfig(dynamic_batching={})
PLAIN = model_config.ModelConfig()


def model(folder: Path, kind: str, *, mix: bool | None = None) -> Model:
    backend = {"targets": ["127.0.0.1:1"]} if kind == "oip" else {"repository": "models"}
    return Model.model_validate({kind: backend, "mix": mix}, context={"base": folder})


def spec(*, independent: bool | None, config: object = None) -> ModelSpec:
    return ModelSpec(
        name="m",
        version="1",
        platform="",
        inputs=(),
        outputs=(),
        max_rows=8,
        independent=independent,
        config=config,
    )


@pytest.mark.parametrize("kind", ["worker", "inprocess", "oip"])
@pytest.mark.parametrize("independent", [True, False, None])
def test_the_configuration_has_the_last_word(tmp_path: Path, kind: str, independent: bool | None) -> None:
    """Whatever was found, and whether or not anything is known."""
    known = spec(independent=independent, config=BATCHES)
    for mix in (True, False):
        assert may_mix(model(tmp_path, kind, mix=mix), known) is mix
        assert may_mix(model(tmp_path, kind, mix=mix), None) is mix


@pytest.mark.parametrize("kind", ["worker", "inprocess", "oip"])
def test_without_its_word_only_a_proof_mixes(tmp_path: Path, kind: str) -> None:
    """What failed the proof, what nobody looked into and what is not known yet stay alone."""
    for independent in (True, False, None):
        found = spec(independent=independent, config=PLAIN)
        assert may_mix(model(tmp_path, kind), found) is (independent is True)
    assert not may_mix(model(tmp_path, kind), None)


def test_what_a_foreign_server_mixes_anyway_is_mixed(tmp_path: Path) -> None:
    """Only there, and not against a proof: our own workers were looked into."""
    batching = spec(independent=None, config=BATCHES)
    assert may_mix(model(tmp_path, "oip"), batching)
    assert not may_mix(model(tmp_path, "worker"), batching)
    assert not may_mix(model(tmp_path, "oip"), spec(independent=False, config=BATCHES))
    assert not may_mix(model(tmp_path, "oip"), spec(independent=None))


def test_a_config_carries_what_was_found() -> None:
    """There and back; what is neither true nor false says nothing, and looking adds nothing."""
    config = model_config.ModelConfig()
    assert independent_of(config) is None
    assert not config.parameters
    for found in (True, False, None):
        declare_independent(config, found)
        assert independent_of(config) is found
    config.parameters["accord_independent"].string_value = "perhaps"
    assert independent_of(config) is None
