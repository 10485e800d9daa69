"""Taking tensors out of a message changes nothing: protobuf says what a message is, before and after."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protos.oip import messages, raws_apart


def messages_of() -> st.SearchStrategy[bytes]:
    """Requests as a client's library writes them, and the same with fields in another order or twice."""
    raws = st.lists(st.binary(max_size=300), max_size=3)
    text = st.text(max_size=8)

    def build(name: str, number: str, raw: list[bytes], dims: list[int]) -> bytes:
        request = messages.ModelInferRequest(model_name=name, id=number, raw_input_contents=raw)
        request.inputs.add(name="x", datatype="FP32", shape=dims)
        request.parameters["p"].int64_param = 7
        return bytes(request.SerializeToString())

    one = st.builds(build, text, text, raws, st.lists(st.integers(0, 2**40), max_size=3))
    return st.lists(one, min_size=1, max_size=3).map(b"".join)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Return a request some of whose bytes were changed, cut out or put in."""
    data = bytearray(draw(messages_of()))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "cut", "put"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 5))]
            case _:
                data[at:at] = draw(st.binary(min_size=1, max_size=5))
    return bytes(data)


def parsed(data: bytes) -> object:
    try:
        return messages.ModelInferRequest.FromString(data)
    except DecodeError:
        return None


@settings(max_examples=600, deadline=None)
@given(messages_of() | spoiled() | st.binary(max_size=40))
@example(b"\x3a\x03ab")  # a raw content that goes beyond the end
@example(b"\x38\x05")  # its number with another wire type
@example(b"\x3b\x3c")  # a group
@example(b"\xba\x80\x80\x80\x80\x00\x01a")  # its tag in more bytes than it needs
def test_what_is_taken_out_is_what_protobuf_reads(data: bytes) -> None:
    """The same raw contents and the same rest, or the same refusal; nothing is lost or made up."""
    whole = parsed(data)
    rest, raws = raws_apart(data)
    if raws is None:
        assert rest == data
        return
    remainder = parsed(rest)
    assert (whole is None) == (remainder is None)
    if whole is None or remainder is None:
        return
    assert list(whole.raw_input_contents) == [bytes(raw) for raw in raws]
    assert not remainder.raw_input_contents
    whole.ClearField("raw_input_contents")
    assert whole.SerializeToString(deterministic=True) == remainder.SerializeToString(deterministic=True)


@given(messages_of())
def test_a_plain_message_is_taken_apart_without_a_copy(data: bytes) -> None:
    """Every message that protobuf writes is; what is taken are views of its bytes."""
    _, raws = raws_apart(data)
    assert raws is not None
    assert all(raw.obj is data for raw in raws)
