"""What reading a request or an answer may cost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from protos import oip
from protos.errors import AccordError, Reason
from protos.rpc import MAX_MESSAGE_BYTES
from protos.tensor import Tensor, TensorFault

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("typed", [True, False])
def test_very_many_walked_elements_are_refused_before_they_are_walked(typed: bool) -> None:
    """BYTES and typed elements are read one by one; a request cannot hold up everyone else with them."""
    count = oip.MAX_WALK + 1
    request = oip.messages.ModelInferRequest(model_name="m")
    message = request.inputs.add(name="x", datatype="BYTES", shape=[count])
    if typed:
        message.contents.bytes_contents.extend([b""] * count)
    else:
        request.raw_input_contents.append(bytes(4 * count))
    started = time.process_time()
    with pytest.raises(AccordError) as caught:
        oip.read_inputs(request)
    assert caught.value.reason is Reason.SHAPE_MISMATCH
    assert time.process_time() - started < 0.1
    message.shape[0] = count - 1
    if not typed:
        request.raw_input_contents[0] = bytes(4 * (count - 1))
        assert oip.read_inputs(request)["x"].shape == (count - 1,)


@pytest.mark.parametrize(
    ("field", "read"), [("inputs", oip.read_inputs), ("outputs", lambda r: oip.read_requested(r.outputs))]
)
def test_very_many_tensors_are_refused_before_they_are_looked_at(
    field: str, read: Callable[[Any], Any]
) -> None:
    """They take little room in a message, and each is looked at in Python while everyone else waits."""
    request = oip.messages.ModelInferRequest(model_name="m")
    tensors = getattr(request, field)
    for i in range(oip.MAX_TENSORS + 1):
        tensors.add(name=str(i))
    with pytest.raises(AccordError) as caught:
        read(request)
    assert (caught.value.reason, caught.value.field) == (Reason.INPUT_UNKNOWN, field)


@pytest.mark.parametrize("typed", [True, False])
def test_a_members_answer_cannot_hold_up_everyone_either(typed: bool) -> None:
    """A server may answer with as many elements to walk as a request may have, and no more."""
    count = oip.MAX_WALK + 1
    response = oip.messages.ModelInferResponse()
    message = response.outputs.add(name="y", datatype="BYTES", shape=[count])
    if typed:
        message.contents.bytes_contents.extend([b""] * count)
    else:
        response.raw_output_contents.append(bytes(4 * count))
    with pytest.raises(TensorFault, match="more than"):
        oip.read_outputs(response)


def test_an_answer_that_fits_into_no_message_is_refused_with_what_to_do() -> None:
    """Else gRPC drops it with a status of its own, or none that a client could understand."""
    tensor = Tensor.from_array(np.zeros(oip.MAX_ANSWER_BYTES // 2, np.uint8))
    response = oip.messages.ModelInferResponse()
    oip.write_outputs(response, {"a": tensor, "b": tensor})
    assert response.ByteSize() < MAX_MESSAGE_BYTES
    one = Tensor.from_array(np.zeros(2, np.uint8))
    with pytest.raises(AccordError) as caught:
        oip.write_outputs(oip.messages.ModelInferResponse(), {"a": tensor, "b": tensor, "c": one})
    assert caught.value.reason is Reason.REQUEST_TOO_LARGE
