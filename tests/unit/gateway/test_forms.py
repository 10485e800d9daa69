"""What a question is on the wire: its tensors once for all members, a head for each."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.members import forms
from gateway.values import Question
from protos import oip
from protos.tensor import Tensor, TensorFault

INPUTS = {
    "x": Tensor.from_array(np.arange(6, dtype=np.float32).reshape(3, 2)),
    "t": Tensor.from_array(np.array([[b"a"], [b""], [b"long"]], object)),
}


def question(**more: object) -> Question:
    return Question(inputs=INPUTS, outputs=("y", "z"), deadline=0.0, id="r-1", **more)  # type: ignore[arg-type]


def test_head_and_tensors_are_one_message_when_joined() -> None:
    """As if it had been written in one go; so they are beside raw contents."""
    asked = question(priority=2, parameters={"heat": 0.5})
    request = oip.messages.ModelInferRequest.FromString(
        b"".join([forms.head_of(asked, "m", "7", 1.5, local=True), *forms.whole(asked)])
    )
    assert (request.model_name, request.model_version, request.id) == ("m", "7", "r-1")
    assert [output.name for output in request.outputs] == ["y", "z"]
    assert request.parameters["timeout"].int64_param == 1_500_000
    assert request.parameters["priority"].uint64_param == 2
    assert request.parameters["heat"].double_param == 0.5
    assert oip.read_inputs(request) == INPUTS
    tensors, raws = forms.apart(asked)
    beside = oip.messages.ModelInferRequest.FromString(
        forms.head_of(asked, "m", "7", 1.5, local=True) + tensors
    )
    assert not beside.raw_input_contents
    assert oip.read_inputs(beside, raws) == INPUTS
    del request.raw_input_contents[:]
    assert beside == request


def test_questions_that_share_their_forms_are_encoded_once() -> None:
    """For both ways; questions that share nothing have their own."""
    shared: dict[str, object] = {}
    one, other, alone = question(forms=shared), question(forms=shared), question()
    assert forms.whole(one) is forms.whole(other)
    assert forms.apart(one) is forms.apart(other)
    assert forms.whole(alone) is not forms.whole(one)


def test_raw_contents_are_not_copied() -> None:
    """They are the tensors' own bytes, beside a request and as parts of one."""
    _, raws = forms.apart(question())
    parts = forms.whole(question())
    assert all(raw is tensor.raw for raw, tensor in zip(raws, INPUTS.values(), strict=True))
    assert all(part is tensor.raw for part, tensor in zip(parts[2::2], INPUTS.values(), strict=True))


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_parts_of_any_length_make_a_message(size: int) -> None:
    """A length takes one byte more for every seven bits."""
    x = Tensor.from_array(np.zeros(size, np.uint8))
    asked = Question(inputs={"x": x}, outputs=(), deadline=0.0)
    request = oip.messages.ModelInferRequest.FromString(b"".join(forms.whole(asked)))
    assert oip.read_inputs(request) == {"x": x}


def test_of_an_answer_only_the_wanted_outputs_are_read() -> None:
    """Whatever else is in it, broken even, costs nothing; where nothing is named all of it is read."""
    response = oip.messages.ModelInferResponse()
    oip.write_outputs(response, {"y": INPUTS["x"], "z": INPUTS["x"]})
    response.raw_output_contents[0] = b"garbage"
    answer = forms.answer_of(forms.Answered(response), "1", wanted=("z",), within_s=1.0)
    assert answer.outputs == {"z": INPUTS["x"]}
    with pytest.raises(TensorFault, match="bytes"):
        forms.answer_of(forms.Answered(response), "1", wanted=(), within_s=1.0)
