"""How models describe themselves: configs of models that no file describes, and what is read from others'."""

from __future__ import annotations

import pytest

from protos import oip
from protos.model import ModelSpec
from protos.oip import model_config
from protos.tensor import DTYPES, TensorSpec


def spec(*, max_rows: int = 8) -> ModelSpec:
    rows = (-1,) if max_rows else ()
    return ModelSpec(
        name="digits",
        version="1",
        platform="accord",
        inputs=(
            TensorSpec("x", "FP32", (*rows, 64)),
            TensorSpec("hint", "BYTES", (*rows, -1), optional=True),
        ),
        outputs=(TensorSpec("label", "INT64", (*rows, 1), labels=("zero", "one")),),
        max_rows=max_rows,
    )


@pytest.mark.parametrize("max_rows", [0, 8])
def test_dims_leave_out_the_row_dimension(max_rows: int) -> None:
    """Clients add it again where max_batch_size is above 0, and only there."""
    config = oip.model_config_of(spec(max_rows=max_rows))
    assert config.max_batch_size == max_rows
    assert [list(t.dims) for t in (*config.input, *config.output)] == [[64], [-1], [1]]


def test_names_types_and_optional_inputs_are_told() -> None:
    """A client learns from the config what it may send and leave out."""
    config = oip.model_config_of(spec(), backend="accord", parameters={"strategy": "mean", "quorum": "2"})
    assert (config.name, config.platform, config.backend) == ("digits", "accord", "accord")
    assert [(t.name, oip.config_datatype(t)) for t in config.input] == [("x", "FP32"), ("hint", "BYTES")]
    assert oip.optional_inputs(config) == {"hint"}
    assert {key: value.string_value for key, value in config.parameters.items()} == {
        "strategy": "mean",
        "quorum": "2",
    }


def test_nothing_sends_perf_analyzer_after_steps() -> None:
    """It asks for the config of each step of what it takes for an ensemble of Triton's."""
    config = oip.model_config_of(spec())
    assert config.platform != "ensemble"
    assert config.WhichOneof("scheduling_choice") is None


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_has_a_name_in_a_config(datatype: str) -> None:
    """Written and read back it is the same."""
    entry = model_config.ModelOutput()
    oip.describe_tensor(entry, TensorSpec("y", datatype, (3,)), batches=False)
    assert oip.config_datatype(model_config.ModelOutput.FromString(entry.SerializeToString())) == datatype


def test_every_datatype_of_a_config_is_one_of_ours() -> None:
    """Only the one that says nothing has no name in the protocol."""
    for value in model_config.DataType.values():
        entry = model_config.ModelInput(data_type=value)
        if value == model_config.TYPE_INVALID:
            with pytest.raises(KeyError):
                oip.config_datatype(entry)
        else:
            assert oip.config_datatype(entry) in DTYPES


def test_a_datatype_that_is_none_is_told_as_such() -> None:
    """A server may say anything of its model; that must not break the description."""
    entry = model_config.ModelOutput()
    oip.describe_tensor(entry, TensorSpec("y", "FP31", (3,)), batches=False)
    assert entry.data_type == model_config.TYPE_INVALID
