"""Nothing wrong is timed: what counts as the same answer, and how many calls a closed loop makes."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from bench import BenchFailed
from bench.answers import Question, check
from bench.load import drive
from protos import oip
from protos.tensor import Tensor

RIGHT = np.array([[0.25, 0.75]], np.float32)


def reply(probabilities: np.ndarray, *, degraded: bool = False) -> bytes:
    response = oip.messages.ModelInferResponse(model_name="digits")
    oip.write_outputs(response, {"probabilities": Tensor.from_array(probabilities)})
    oip.write_parameters(response.parameters, {"accord_degraded": degraded, "accord_failed": "svm=X"})
    return bytes(response.SerializeToString())


QUESTION = Question(b"row", reply(RIGHT))


def test_the_last_bit_may_differ() -> None:
    """A reply with other bytes but the same numbers within rounding is right."""
    close = np.nextafter(RIGHT, np.float32(1))
    assert reply(close) != QUESTION.reply
    check(QUESTION, reply(close))


def test_other_numbers_are_refused() -> None:
    """A reply that is off by more than rounding stops the measurement and says by how much."""
    with pytest.raises(BenchFailed, match=r"differ by 0\.001"):
        check(QUESTION, reply(RIGHT + np.float32([[0.001, -0.001]])))


def test_an_answer_without_a_member_is_refused() -> None:
    """A degraded answer is cheaper, so its time is not the ensemble's; the lost member is named."""
    with pytest.raises(BenchFailed, match="svm=X"):
        check(QUESTION, reply(RIGHT, degraded=True))


async def test_a_closed_loop_keeps_its_number_in_flight() -> None:
    """As many calls as there are callers are under way at once, and each caller asks at least once."""
    active, most = 0, 0

    async def call(_request: bytes) -> bytes:
        nonlocal active, most
        active, most = active + 1, max(most, active + 1)
        await asyncio.sleep(0)
        active -= 1
        return QUESTION.reply

    made = await drive(call, [QUESTION], in_flight=5, window_s=0.0, cpu=time.process_time)
    assert most == made.calls == 5
    assert made.p50_s <= 5 / made.calls_per_s


async def test_questions_are_asked_in_turn() -> None:
    """Callers share one list, so that no request is asked much more often than another."""
    questions = [Question(name, QUESTION.reply) for name in (b"a", b"b", b"c")]
    asked: list[bytes] = []

    async def call(request: bytes) -> bytes:
        asked.append(request)
        return QUESTION.reply

    await drive(call, questions, in_flight=6, window_s=0.0, cpu=time.process_time)
    assert asked == [b"a", b"b", b"c", b"a", b"b", b"c"]


async def test_a_wrong_answer_under_load_is_not_timed() -> None:
    """One wrong reply among right ones fails the leg."""
    replies = iter([QUESTION.reply, reply(1 - RIGHT), QUESTION.reply])

    async def call(_request: bytes) -> bytes:
        return next(replies)

    with pytest.raises(BenchFailed, match="under load"):
        await drive(call, [QUESTION], in_flight=3, window_s=0.0, cpu=time.process_time)
