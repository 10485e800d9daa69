"""The frames of the lane: to and from bytes, without I/O.

Rules:

- Each side begins with :data:`HELLO`, which names the version; frames follow, in any number and order.
- A frame is a prefix of 32 bytes and a body: the lengths of its segments, its head, its segments. Each
  segment begins at a multiple of 16 bytes of the body, so that numbers can be read where they lie.
- The head is a message of the Open Inference Protocol without raw contents, the segments are its tensors in
  order; an error's head is a ``google.rpc.Status``.
- Every length is checked before memory is taken for it. What breaks a rule is a :class:`LaneFault`, after
  which nothing on the connection makes sense any more.

Numbers are little-endian: both ends are on one host.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from protos.oip.tensors import MAX_TENSORS
from protos.rpc import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "HELLO",
    "MAX_SEGMENTS",
    "VERSION",
    "Buffer",
    "Decoder",
    "Frame",
    "Kind",
    "LaneFault",
    "VersionFault",
    "cancel",
    "error",
    "reply",
    "request",
]

Buffer = bytes | memoryview

#: Raise it with every change of what follows: two ends that differ do not speak to each other.
VERSION = 1
_NAME = b"ACLANE"
#: What each side sends first.
HELLO = _NAME + VERSION.to_bytes(2, "little")

#: Most segments of a frame.
MAX_SEGMENTS = MAX_TENSORS
#: magic, kind, nothing, segments, head's length, body's length, id, argument
_PREFIX = struct.Struct("<HBBIIIQQ")
_MAGIC = 0xACC0
_ALIGNMENT = 16
_PADDING = tuple(bytes(n) for n in range(_ALIGNMENT))
_MAX_ARGUMENT = 2**64 - 1
#: A frame that fits is taken from it by one copy; of a larger one all but the beginning is received in place.
#: Larger than what a unix socket holds by default, so that one receive empties it.
_SCRATCH_BYTES = 256 * 1024


class Kind(IntEnum):
    """What a frame says. The gateway sends REQUEST and CANCEL, the worker REPLY and ERROR."""

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    CANCEL = 4


_KINDS = frozenset(map(int, Kind))


class LaneFault(ValueError):  # noqa: N818 - a fault is the field's word
    """Bytes or a frame that the other side should never have sent. The message is for our log."""


class VersionFault(LaneFault):
    """The other side speaks another version of the lane."""


class Frame(NamedTuple):
    """One frame.

    Args:
        kind: What it says, a :class:`Kind`.
        id: The call it belongs to, from 1.
        argument: Of a REQUEST the time left in microseconds, 0 = no limit; of an ERROR the gRPC status code.
        head: A serialised message.
        segments: The tensors' bytes.
    """

    kind: int
    id: int
    argument: int = 0
    head: bytes = b""
    segments: tuple[memoryview, ...] = ()


def request(id_: int, left_us: int, head: bytes, segments: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers of a REQUEST; its tensors are not copied.

    Raises:
        LaneFault: If it is larger than a frame may be.

    Example:
        >>> [len(buffer) for buffer in request(7, 1000, b"head", [b"tensor"])]  # the second is padding
        [40, 8, 6]
    """
    return _frame(Kind.REQUEST, id_, min(left_us, _MAX_ARGUMENT), head, segments)


def reply(id_: int, head: bytes, segments: Sequence[Buffer]) -> list[Buffer]:
    """Return the buffers of a REPLY; its tensors are not copied.

    Raises:
        LaneFault: If it is larger than a frame may be.
    """
    return _frame(Kind.REPLY, id_, 0, head, segments)


def error(id_: int, code: int, status: bytes) -> list[Buffer]:
    """Return the buffers of an ERROR.

    Args:
        id_: The call's id.
        code: A gRPC status code.
        status: A serialised ``google.rpc.Status``.
    """
    return _frame(Kind.ERROR, id_, code, status, ())


def cancel(id_: int) -> list[Buffer]:
    """Return the buffers of a CANCEL."""
    return _frame(Kind.CANCEL, id_, 0, b"", ())


def _frame(kind: int, id_: int, argument: int, head: bytes, segments: Sequence[Buffer]) -> list[Buffer]:
    sizes = [len(segment) for segment in segments]
    body = 4 * len(sizes) + len(head)
    tail: list[Buffer] = []
    for segment, size in zip(segments, sizes, strict=True):
        if body % _ALIGNMENT:
            tail.append(_PADDING[-body % _ALIGNMENT])
            body += -body % _ALIGNMENT
        if size:
            tail.append(segment)
            body += size
    if body > MAX_MESSAGE_BYTES or len(sizes) > MAX_SEGMENTS:
        raise LaneFault(
            f"a frame of {len(sizes)} segments and {body} bytes is too large; "
            f"at most {MAX_SEGMENTS} and {MAX_MESSAGE_BYTES} are sent"
        )
    prefix = _PREFIX.pack(_MAGIC, kind, 0, len(sizes), len(head), body, id_, argument)
    return [b"".join((prefix, struct.pack(f"<{len(sizes)}I", *sizes), head)), *tail]


class Decoder:
    """Makes frames of bytes as they arrive: receive into :meth:`buffer`, then tell :meth:`received`.

    Example:
        >>> decoder = Decoder()
        >>> data = HELLO + b"".join(request(7, 1000, b"head", [b"tensor"]))
        >>> decoder.buffer()[: len(data)] = data
        >>> [frame] = decoder.received(len(data))
        >>> frame.id, frame.head, bytes(frame.segments[0]), decoder.greeted
        (7, b'head', b'tensor', True)
    """

    def __init__(self) -> None:
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._end = 0
        self._prefix: tuple[int, ...] = ()
        self._body: memoryview | None = None
        self._filled = 0
        #: Whether the other side has said which version it speaks, and it is ours.
        self.greeted = False

    def buffer(self) -> memoryview:
        """Return where the next bytes go; it is never empty."""
        return self._scratch[self._end :] if self._body is None else self._body[self._filled :]

    def received(self, count: int) -> Iterator[Frame]:
        """Take note of bytes in :meth:`buffer`, and return the frames that they complete.

        The frames must be taken to the last one before the next bytes are received.

        Raises:
            LaneFault: If the bytes are none that the other side may send, after the frames before them.
        """
        if self._body is not None:
            self._filled += count
            if self._filled == len(self._body):
                body, self._body = self._body, None
                yield _parsed(self._prefix, body)
            return
        self._end += count
        at = 0
        if not self.greeted:
            at = self._greet()
            if not self.greeted:
                return
        while self._end - at >= _PREFIX.size:
            prefix = _PREFIX.unpack_from(self._scratch, at)
            _check(prefix)
            body, begins = prefix[5], at + _PREFIX.size
            if begins + body > self._end:
                if _PREFIX.size + body > _SCRATCH_BYTES:
                    self._grow(prefix, begins)
                    return
                break
            at = begins + body
            yield _parsed(prefix, memoryview(bytes(self._scratch[begins:at])))
        if at:
            rest = self._end - at
            self._scratch[:rest] = self._scratch[at : self._end]
            self._end = rest

    def _greet(self) -> int:
        """Read the other side's first bytes; return how many they are."""
        said = bytes(self._scratch[: min(self._end, len(HELLO))])
        if not _NAME.startswith(said[: len(_NAME)]):
            raise LaneFault("the other side does not speak the lane's protocol")
        if len(said) < len(HELLO):
            return 0
        version = int.from_bytes(said[len(_NAME) :], "little")
        if version != VERSION:
            raise VersionFault(f"the other side speaks version {version} of the lane, this one {VERSION}")
        self.greeted = True
        return len(HELLO)

    def _grow(self, prefix: tuple[int, ...], begins: int) -> None:
        """Receive the rest of a large body where it will stay."""
        here = self._end - begins
        # not a bytearray, which would be cleared first
        self._body = np.empty(prefix[5], np.uint8).data
        self._body[:here] = self._scratch[begins : self._end]
        self._prefix, self._filled, self._end = prefix, here, 0


def _check(prefix: tuple[int, ...]) -> None:
    magic, kind, nothing, segments, head, body, id_, _ = prefix
    if magic != _MAGIC or nothing:
        raise LaneFault("no frame begins with these bytes")
    if kind not in _KINDS:
        raise LaneFault(f"there is no frame of kind {kind}")
    if not id_:
        raise LaneFault("a frame's id is 0")
    if body > MAX_MESSAGE_BYTES or segments > MAX_SEGMENTS:
        raise LaneFault(f"a frame of {segments} segments and {body} bytes is too large")
    if 4 * segments + head > body:
        raise LaneFault(f"a body of {body} bytes cannot hold {segments} segments and a head of {head} bytes")


def _parsed(prefix: tuple[int, ...], body: memoryview) -> Frame:
    _, kind, _, count, head, size, id_, argument = prefix
    at = 4 * count
    ends = at + head
    said = bytes(body[at:ends])
    segments = []
    for length in struct.unpack_from(f"<{count}I", body):
        begins = ends + -ends % _ALIGNMENT
        ends = begins + length
        if ends > size:
            break
        segments.append(body[begins:ends])
    if ends != size:
        raise LaneFault("a frame's segments do not fill its body")
    return Frame(kind, id_, argument, said, tuple(segments))
