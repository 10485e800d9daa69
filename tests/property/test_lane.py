"""The lane's decoder under any bytes: the same frames, or our fault, and nothing else."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from protos import lane
from tests.lanes import plain, taken, written

ids = st.integers(1, 2**64 - 1)
segments = st.lists(st.binary(max_size=70), max_size=6)
frames = st.one_of(
    st.builds(lane.request, ids, st.integers(0, 2**64), st.binary(max_size=40), segments),
    st.builds(lane.reply, ids, st.binary(max_size=40), segments),
    st.builds(lane.error, ids, st.integers(0, 16), st.binary(max_size=40)),
    st.builds(lane.cancel, ids),
)
cuts = st.lists(st.integers(0, 2000), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(edge for edge in at if edge < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(frames, max_size=6), cuts)
def test_frames_come_out_the_same_however_they_are_cut(
    sent: list[list[bytes | memoryview]], at: list[int]
) -> None:
    """All of them, in order."""
    data = lane.HELLO + written(*sent)
    found = taken(lane.Decoder(), cut(data, at))
    assert written(*map(again, found)) == written(*sent)


def again(frame: lane.Frame) -> list[bytes | memoryview]:
    match frame.kind:
        case lane.Kind.REQUEST:
            return lane.request(frame.id, frame.argument, frame.head, frame.segments)
        case lane.Kind.REPLY:
            return lane.reply(frame.id, frame.head, frame.segments)
        case lane.Kind.ERROR:
            return lane.error(frame.id, frame.argument, frame.head)
        case _:
            return lane.cancel(frame.id)


@given(st.booleans(), st.binary(max_size=300), cuts)
def test_garbage_is_a_fault_or_waits_for_more(greets: bool, garbage: bytes, at: list[int]) -> None:
    """Never another exception, and never a frame that was not sent."""
    try:
        found = taken(lane.Decoder(), cut((lane.HELLO if greets else b"") + garbage, at))
    except lane.LaneFault:
        return
    assert found == [] or greets


@given(st.lists(frames, min_size=1, max_size=3), st.data(), cuts)
def test_damaged_frames_are_a_fault_or_well_formed(
    sent: list[list[bytes | memoryview]], data: st.DataObject, at: list[int]
) -> None:
    """One changed byte changes what a frame says, or ends the connection; it breaks nothing of ours."""
    damaged = bytearray(lane.HELLO + written(*sent))
    where = data.draw(st.integers(0, len(damaged) - 1))
    damaged[where] = data.draw(st.integers(0, 255))
    try:
        found = taken(lane.Decoder(), cut(bytes(damaged), at))
    except lane.LaneFault:
        return
    for _, id_, _, _, parts in plain(found):
        assert id_
        assert len(parts) <= lane.MAX_SEGMENTS
