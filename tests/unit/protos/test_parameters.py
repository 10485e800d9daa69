"""Request parameters with a meaning: their names, types and limits."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.utils import (
    TRITON_RESERVED_REQUEST_PARAMS,
    TRITON_RESERVED_REQUEST_PARAMS_PREFIX,
)

from protos import oip
from protos.errors import AccordError, Reason
from protos.oip import messages


def received(name: str, **value: Any) -> dict[str, oip.Parameter]:
    """A parameter as it comes off the wire."""
    request = messages.ModelInferRequest()
    request.parameters[name].CopyFrom(messages.InferParameter(**value))
    return oip.read_parameters(request.parameters)


def refused(call: Any, parameters: dict[str, oip.Parameter]) -> tuple[str, str]:
    with pytest.raises(AccordError) as caught:
        call(parameters)
    return caught.value.reason.name, caught.value.field


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"int64_param": 2}, 2), ({"uint64_param": 1}, 1), ({"uint64_param": 2**64 - 1}, 2**64 - 1)],
)
def test_a_priority_comes_in_either_integer_type(value: dict[str, int], expected: int) -> None:
    """Tritonclient sends uint64, Triton's protocol text says int64."""
    assert oip.priority(received("priority", **value)) == expected


def test_without_a_priority_it_is_the_default() -> None:
    """0 is how a client asks for the server's default, too."""
    assert oip.priority({}) == oip.priority(received("priority", uint64_param=0)) == 0


@pytest.mark.parametrize(
    "value", [{"int64_param": -1}, {"string_param": "1"}, {"bool_param": True}, {"double_param": 1.0}]
)
def test_any_other_priority_is_refused(value: dict[str, Any]) -> None:
    """A wrong type is a mistake to tell, not to guess at."""
    assert refused(oip.priority, received("priority", **value)) == (
        "PARAMETER_INVALID",
        "parameters['priority']",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_id", {"int64_param": 7}),
        ("sequence_id", {"string_param": "s"}),
        ("sequence_start", {"bool_param": True}),
        ("sequence_end", {"bool_param": True}),
    ],
)
def test_a_sequence_is_refused_with_its_parameter(name: str, value: dict[str, Any]) -> None:
    """Its state would be lost, so no request of one is computed."""
    assert refused(oip.refuse_sequences, received(name, **value)) == ("UNSUPPORTED", f"parameters[{name!r}]")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_id", {"int64_param": 0}),
        ("sequence_id", {"string_param": ""}),
        ("sequence_start", {"bool_param": False}),
        ("sequence_end", {"bool_param": False}),
        ("mine", {"double_param": 0.5}),
    ],
)
def test_empty_sequence_parameters_ask_for_nothing(name: str, value: dict[str, Any]) -> None:
    """Some clients send them always."""
    oip.refuse_sequences(received(name, **value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence_id", {"bool_param": False}),
        ("sequence_id", {"double_param": 0.0}),
        ("sequence_start", {"int64_param": 0}),
        ("sequence_end", {"string_param": ""}),
    ],
)
def test_a_sequence_parameter_of_a_wrong_type_is_a_mistake(name: str, value: dict[str, Any]) -> None:
    """Empty or not: the type says that the client means something else."""
    assert refused(oip.refuse_sequences, received(name, **value)) == (
        "PARAMETER_INVALID",
        f"parameters[{name!r}]",
    )


def test_what_tritonclient_reserves_is_reserved() -> None:
    """Names that its users cannot send as custom ones are never passed on as custom ones."""
    assert oip.custom(dict.fromkeys(TRITON_RESERVED_REQUEST_PARAMS, 1)) == {}
    assert oip.custom({f"{TRITON_RESERVED_REQUEST_PARAMS_PREFIX}x": 1, "accord_x": 1}) == {}


def test_custom_parameters_are_all_others() -> None:
    """Type and order are kept, up to the largest uint64, and survive being sent on."""
    mine: dict[str, oip.Parameter] = {"b": True, "a": 2**64 - 1, "c": -(2**63), "d": 0.5, "e": "x", "": ""}
    parameters = {"timeout": 5, **mine, "triton_final_response": True}
    assert list(oip.custom(parameters).items()) == list(mine.items())
    request = messages.ModelInferRequest()
    oip.write_parameters(request.parameters, mine)
    assert oip.read_parameters(request.parameters) == mine


def test_the_form_of_the_answer_is_raw_unless_typed_is_asked_for() -> None:
    """Tritonclient's users notice nothing."""
    assert not oip.typed_contents({})
    assert not oip.typed_contents({"accord_contents": "raw"})
    assert oip.typed_contents({"accord_contents": "typed"})


@pytest.mark.parametrize("value", ["", "TYPED", True, 1, 0.5])
def test_any_other_form_is_refused(value: oip.Parameter) -> None:
    """A misspelt wish is told, not ignored."""
    assert refused(oip.typed_contents, {"accord_contents": value}) == (
        "PARAMETER_INVALID",
        "parameters['accord_contents']",
    )


def test_very_many_parameters_are_refused_before_they_are_read() -> None:
    """They are read in Python, while everyone else waits; reserved names are no way around."""
    request = oip.messages.ModelInferRequest()
    oip.write_parameters(request.parameters, {f"triton_{i}": True for i in range(256)})
    assert len(oip.read_parameters(request.parameters)) == 256
    request.parameters["one more"].bool_param = True
    with pytest.raises(AccordError) as caught:
        oip.read_parameters(request.parameters)
    assert (caught.value.reason, caught.value.field) == (Reason.PARAMETER_INVALID, "parameters")
