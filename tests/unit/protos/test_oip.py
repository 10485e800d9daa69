"""What reading a request may cost."""

from __future__ import annotations

import time

import pytest

from protos import oip
from protos.errors import AccordError, Reason


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
