"""Takes a request's tensors out of its bytes before they are parsed, so that they are not copied.

protobuf copies a tensor when it parses the message, and once more when it is read. Here the top level of the
message is walked instead: raw contents stay where they are, everything else is left for protobuf to parse.
What protobuf would refuse, or might read in another way, is left to it as a whole.

Source: Protocol Buffers encoding ("Message Structure"): fields of a message may stand in any order, and the
entries of a repeated one in the order in which they came.
"""

from __future__ import annotations

from protos.oip.wire import messages

__all__ = ["raws_apart"]

_RAW_FIELD = messages.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LENGTHS = {_FIXED64: 8, _FIXED32: 4}


def raws_apart(data: bytes) -> tuple[bytes, list[memoryview] | None]:
    """Return a ``ModelInferRequest`` without its raw contents, and these uncopied.

    Where the bytes are not plainly a message they are returned as they are, with None: protobuf is to judge.

    Example:
        >>> request = messages.ModelInferRequest(model_name="m", raw_input_contents=[b"ab", b""])
        >>> rest, raws = raws_apart(request.SerializeToString())
        >>> messages.ModelInferRequest.FromString(rest).model_name, [bytes(raw) for raw in raws]
        ('m', [b'ab', b''])
    """
    view = memoryview(data)
    raws: list[memoryview] = []
    kept: list[memoryview] = []
    at, begin, end = 0, 0, len(data)
    try:
        while at < end:
            start = at
            tag, at = _varint(data, at)
            field, kind = tag >> 3, tag & 7
            if kind == _BYTES:
                size, at = _varint(data, at)
                if field == _RAW_FIELD:
                    if begin < start:
                        kept.append(view[begin:start])
                    raws.append(view[at : at + size])
                    begin = at + size
                at += size
            elif kind == _VARINT:
                _, at = _varint(data, at)
            else:
                at += _LENGTHS[kind]
            if not field or at > end or (field == _RAW_FIELD and kind != _BYTES):
                return data, None
    except (IndexError, KeyError):
        return data, None
    return b"".join([*kept, view[begin:]]), raws


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; one of more than five bytes is none that we read.

    Raises:
        IndexError: If it does not end.
    """
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise IndexError
