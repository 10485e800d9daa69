"""The lane's frames: what goes in comes out, however it is cut, and nothing else is believed."""

from __future__ import annotations

import asyncio
import doctest
import socket
import struct

import numpy as np
import pytest

from protos import lane
from protos.lane import frames as codec
from protos.lane.connection import MAX_UNSENT_BYTES
from protos.lane.frames import _PREFIX, _SCRATCH_BYTES
from protos.rpc import MAX_MESSAGE_BYTES
from tests.lanes import plain, taken, written

LARGE = bytes(range(256)) * (_SCRATCH_BYTES // 128)
FRAMES = [
    lane.request(1, 1500, b"head", [b"", b"abc", b"0123456789abcdef"]),
    lane.cancel(1),
    lane.request(2, 0, b"", []),
    lane.error(2**64 - 1, 14, b"status"),
    lane.reply(2, b"h" * 17, [LARGE, b"z"]),
    lane.reply(3, b"", [b"last"]),
]


def test_every_kind_of_frame_comes_out_as_it_went_in() -> None:
    """Empty segments, empty heads and a frame larger than the decoder's own buffer included."""
    found = taken(lane.Decoder(), [lane.HELLO + written(*FRAMES)])
    assert plain(found) == [
        (lane.Kind.REQUEST, 1, 1500, b"head", [b"", b"abc", b"0123456789abcdef"]),
        (lane.Kind.CANCEL, 1, 0, b"", []),
        (lane.Kind.REQUEST, 2, 0, b"", []),
        (lane.Kind.ERROR, 2**64 - 1, 14, b"status", []),
        (lane.Kind.REPLY, 2, 0, b"h" * 17, [LARGE, b"z"]),
        (lane.Kind.REPLY, 3, 0, b"", [b"last"]),
    ]


def test_where_the_bytes_are_cut_does_not_matter() -> None:
    """At every byte of a greeting and three frames, and byte by byte."""
    data = lane.HELLO + written(FRAMES[0], FRAMES[1], FRAMES[3])
    whole = plain(taken(lane.Decoder(), [data]))
    assert len(whole) == 3
    for cut in range(len(data) + 1):
        assert plain(taken(lane.Decoder(), [data[:cut], data[cut:]])) == whole
    assert plain(taken(lane.Decoder(), [data[i : i + 1] for i in range(len(data))])) == whole


def test_numbers_can_be_read_where_they_lie() -> None:
    """Each segment is aligned, in small frames and in large ones, whatever came before it."""
    numbers = np.arange(6.0)
    for head in (b"", b"odd"):
        for first in (b"x", LARGE):
            parts = lane.request(1, 0, head, [first, numbers.view(np.uint8).data])
            [frame] = taken(lane.Decoder(), [lane.HELLO + written(parts)])
            read = np.frombuffer(frame.segments[1])
            assert read.flags.aligned
            assert np.array_equal(read, numbers)


def test_a_tensor_is_not_copied_to_be_sent() -> None:
    """The buffers of a frame are the tensors' own."""
    tensor = np.zeros(64, np.uint8).data
    assert any(part is tensor for part in lane.request(1, 0, b"head", [tensor]))


def prefix(**changes: int) -> bytes:
    fields = {
        "magic": 0xACC0,
        "kind": 1,
        "nothing": 0,
        "segments": 0,
        "head": 0,
        "body": 0,
        "id": 1,
        "arg": 0,
    }
    return _PREFIX.pack(*(fields | changes).values())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"GET / HTTP/1.1", "does not speak"),
        (lane.HELLO[:-2] + b"\x63\x00", "version 99"),
        (lane.HELLO + prefix(magic=1), "no frame begins"),
        (lane.HELLO + prefix(nothing=1), "no frame begins"),
        (lane.HELLO + prefix(kind=9), "no frame of kind 9"),
        (lane.HELLO + prefix(kind=0), "no frame of kind 0"),
        (lane.HELLO + prefix(id=0), "id is 0"),
        (lane.HELLO + prefix(body=MAX_MESSAGE_BYTES + 1), "too large"),
        (lane.HELLO + prefix(segments=lane.MAX_SEGMENTS + 1, body=2**20), "too large"),
        (lane.HELLO + prefix(head=9, body=8), "cannot hold"),
        (lane.HELLO + prefix(segments=3, body=8), "cannot hold"),
        (lane.HELLO + prefix(body=8) + bytes(8), "do not fill"),
        (lane.HELLO + prefix(segments=1, body=4) + struct.pack("<I", 2**31), "do not fill"),
        (lane.HELLO + prefix(segments=1, body=20) + struct.pack("<I", 3) + bytes(16), "do not fill"),
    ],
)
def test_what_breaks_a_rule_is_a_fault(data: bytes, problem: str) -> None:
    """Each is found as soon as its bytes are there, before memory is taken for it."""
    with pytest.raises(lane.LaneFault, match=problem):
        taken(lane.Decoder(), [data])


def test_frames_before_a_fault_are_still_told() -> None:
    """A reply that came whole counts, whatever follows it."""
    decoder, found = lane.Decoder(), list[int]()
    data = lane.HELLO + written(FRAMES[0]) + prefix(magic=1)
    decoder.buffer()[: len(data)] = data
    frames = decoder.received(len(data))
    found.append(next(frames).id)
    with pytest.raises(lane.LaneFault):
        next(frames)
    assert found == [1]


def test_what_is_too_large_is_not_sent() -> None:
    """The largest frame is received, one byte more is refused where it is made."""
    room = MAX_MESSAGE_BYTES - 16
    largest = np.zeros(room, np.uint8).data
    [frame] = taken(lane.Decoder(), [lane.HELLO, *map(bytes, lane.reply(1, b"", [largest]))])
    assert len(frame.segments[0]) == room
    with pytest.raises(lane.LaneFault, match="too large"):
        lane.reply(1, b"", [np.zeros(room + 1, np.uint8).data])
    with pytest.raises(lane.LaneFault, match="too large"):
        lane.reply(1, b"", [b""] * (lane.MAX_SEGMENTS + 1))


class End:
    """One end of a connection and all that it saw."""

    def __init__(self, sock: socket.socket, *, answers: bool = False) -> None:
        self.frames: list[lane.Frame] = []
        self.ended: asyncio.Future[lane.LaneFault | None] = asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()
        self.connection = lane.Connection(
            sock, on_frame=self.take, on_end=self.ended.set_result, answers=answers
        )

    def take(self, frame: lane.Frame) -> None:
        self.frames.append(frame)
        self.arrived.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.frames) < count:
                await self.arrived.wait()
                self.arrived.clear()


async def test_frames_beyond_what_a_socket_holds_arrive_whole_and_in_order() -> None:
    """What the socket does not take waits its turn; many buffers go in parts."""
    one, other = map(End, socket.socketpair())
    sent = [lane.request(i, 0, b"", [LARGE, *[b"x"] * 900]) for i in range(1, 9)]
    for parts in sent:
        one.connection.send(parts)
    assert one.connection.unsent
    await other.until(8)
    assert [frame.id for frame in other.frames] == list(range(1, 9))
    assert all(bytes(frame.segments[0]) == LARGE and len(frame.segments) == 901 for frame in other.frames)
    assert not one.connection.unsent
    one.connection.close()
    assert await other.ended is None


@pytest.mark.parametrize("answers", [True, False])
async def test_the_end_that_answers_stops_reading_while_it_cannot_write(answers: bool) -> None:
    """The other end decides how much is held for it; the control never stops, as the asking end must not."""
    here, there = socket.socketpair()
    there.setblocking(False)
    end = End(here, answers=answers)
    end.connection.send(lane.reply(1, b"", [bytes(2 * MAX_UNSENT_BYTES)]))
    there.send(lane.HELLO + written(lane.cancel(7)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert bool(end.frames) is not answers
    decoder, got = lane.Decoder(), []
    async with asyncio.timeout(10):
        while not got:
            count = await asyncio.get_running_loop().sock_recv_into(there, decoder.buffer())
            got += decoder.received(count)
        await end.until(1)
    assert len(got[0].segments[0]) == 2 * MAX_UNSENT_BYTES
    end.connection.close()
    there.close()


async def test_a_fault_ends_its_connection_and_closes_the_socket() -> None:
    """Nothing is read or written after it."""
    here, there = socket.socketpair()
    end = End(here)
    there.send(lane.HELLO + bytes(64))
    assert isinstance(await end.ended, lane.LaneFault)
    assert here.fileno() == -1
    end.connection.send(lane.cancel(1))
    there.close()


def test_the_examples_of_the_documentation_hold() -> None:
    """They are part of the interface."""
    found = doctest.testmod(codec)
    assert found.attempted
    assert not found.failed
