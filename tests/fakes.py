"""Members in memory that answer by a script, in virtual time; plans over them, and a way to send a batch.

A fake follows the law of :class:`gateway.members.member.Member`: its failures are values, it returns by
the question's deadline, and a cancelled ask ends only when its call has ended. The exceptions are what
tests are about: :func:`raising`, and turns that are ``deaf`` to their deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.config import Config
from gateway.engine.compile import compile_ensemble
from gateway.engine.engine import Engine
from gateway.engine.plan import Merge
from gateway.strategies.base import Array, Ask, Mask, State
from gateway.strategies.means import Mean
from gateway.values import Answer, Batch, Failure, Question, Reply, Rider
from protos.errors import Cause
from protos.model import ModelSpec
from protos.tensor import Tensor, TensorSpec
from tests.clock import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.engine.plan import Plan
    from gateway.strategies.base import Strategy

__all__ = [
    "NEVER",
    "Asked",
    "Cascade",
    "Delivered",
    "FakeMember",
    "Turn",
    "adds",
    "answers",
    "compiled",
    "config",
    "drive",
    "ensemble",
    "fails",
    "fakes",
    "late",
    "lost",
    "nested_with",
    "one",
    "one_of",
    "outcomes",
    "raising",
    "riders",
    "seats",
    "spec",
    "with_strategy",
]

#: Longer than any test.
NEVER = 1e9
#: What a fake says to a question.
Says = Callable[[Question], Answer | Failure]


def adds(amount: float, *, output: str = "y", broken: Mapping[float, float] | None = None) -> Says:
    """Answer ``x + amount``; where x is a key of ``broken``, its value instead."""

    def says(question: Question) -> Answer:
        x = question.inputs["x"].array()
        y = x + np.float32(amount)
        for value, instead in (broken or {}).items():
            y = np.where(x == np.float32(value), np.float32(instead), y)
        return Answer(outputs={output: Tensor.from_array(y.astype(np.float32))}, version="1")

    return says


def answers(outputs: Mapping[str, Array], **about: Any) -> Says:
    """Answer the same arrays to every question."""
    tensors = {name: Tensor.from_array(array) for name, array in outputs.items()}
    return lambda _: Answer(outputs=tensors, **about)


def fails(cause: Cause, attempts: int = 1) -> Says:
    """Fail by the rules."""
    return lambda _: Failure(cause, attempts)


def raising(error: BaseException) -> Says:
    """Break the law: raise an error of this kind and text."""

    def says(_: Question) -> Answer:
        raise type(error)(*error.args)

    return says


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a fake does with one question.

    Args:
        says: What it answers.
        after_s: How long it takes.
        cancel_s: How long its call takes to end when it is cancelled.
        deaf: Whether it ignores the question's deadline, against the law.
    """

    says: Says = field(default_factory=lambda: adds(0.0))
    after_s: float = 0.0
    cancel_s: float = 0.0
    deaf: bool = False


@dataclass(slots=True, eq=False)
class Asked:
    """One question that a fake was asked, and how that ended."""

    question: Question
    at: float
    ended: float | None = None
    cancelled: bool = False

    @property
    def rows(self) -> list[float]:
        """The first column of its input ``x``."""
        array: Array = self.question.inputs["x"].array()
        return [float(value) for value in array.reshape(len(array), -1)[:, 0]]


class FakeMember:
    """A member that plays its turns in order and repeats the last.

    Args:
        spec: What it says of itself; None = not known yet.
        turns: What it does with each question.
        ready: Whether it says that it can be asked.
    """

    def __init__(self, spec: ModelSpec | None, *turns: Turn, ready: bool = True) -> None:
        self.spec = spec
        self.ready = ready
        self.asked: list[Asked] = []
        self._turns = turns or (Turn(),)

    @property
    def running(self) -> int:
        """How many asks have not ended."""
        return sum(asked.ended is None for asked in self.asked)

    async def ask(self, question: Question) -> Answer | Failure:
        """Play the next turn."""
        turn = self._turns[min(len(self.asked), len(self._turns) - 1)]
        loop = asyncio.get_running_loop()
        asked = Asked(question, loop.time())
        self.asked.append(asked)
        left = question.deadline - loop.time()
        try:
            if turn.after_s > left and not turn.deaf:
                await asyncio.sleep(left)
                return Failure(Cause.MEMBER_TIMEOUT)
            await asyncio.sleep(turn.after_s)
            return turn.says(question)
        except asyncio.CancelledError:
            asked.cancelled = True
            if turn.cancel_s:
                await asyncio.sleep(turn.cancel_s)
            raise
        finally:
            asked.ended = loop.time()


def ensemble(*members: Mapping[str, Any], kind: str = "mean", **policy: Any) -> dict[str, Any]:
    """Return an ensemble as the configuration has it."""
    return {"strategy": {"kind": kind}, "members": list(members), **policy}


def seats(*names: str) -> list[dict[str, Any]]:
    """Return plain seats of these models."""
    return [{"model": name} for name in names]


def fakes(**turns: Turn) -> dict[str, FakeMember]:
    """Return members that map x to y, each with one turn."""
    return {name: FakeMember(spec(name), turn) for name, turn in turns.items()}


def late(after_s: float, amount: float = 0.0) -> Turn:
    """Answer ``x + amount`` after a while."""
    return Turn(says=adds(amount), after_s=after_s)


def lost(cause: Cause, after_s: float = 0.0) -> Turn:
    """Fail after a while."""
    return Turn(says=fails(cause), after_s=after_s)


def spec(
    name: str,
    *,
    inputs: Iterable[TensorSpec] = (TensorSpec("x", "FP32", (-1, 1)),),
    outputs: Iterable[TensorSpec] = (TensorSpec("y", "FP32", (-1, 1)),),
    max_rows: int = 256,
    version: str = "1",
    independent: bool | None = True,
) -> ModelSpec:
    """Return what a model says of itself; by default it maps x to y, both FP32 [-1, 1]."""
    return ModelSpec(
        name=name,
        version=version,
        platform="fake",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        max_rows=max_rows,
        independent=independent,
    )


def config(ensembles: Mapping[str, Any], models: Iterable[str], **server: Any) -> Config:
    """Return a configuration of ensembles over models that live elsewhere."""
    backend = {"oip": {"targets": ["localhost:1"]}}
    return Config.model_validate(
        {"server": server, "models": dict.fromkeys(models, backend), "ensembles": ensembles}
    )


def compiled(
    members: Mapping[str, FakeMember],
    ensembles: Mapping[str, Any],
    name: str = "e",
    strategy: Strategy | None = None,
) -> Plan:
    """Compile an ensemble that has no problems.

    Args:
        members: The models by name.
        ensembles: The ensembles as the configuration has them.
        name: Which of them.
        strategy: Replaces the strategy of its root merge.
    """
    specs = {name: member.spec for name, member in members.items()}
    plan, problems = compile_ensemble(config(ensembles, members), name, specs)
    assert not problems, problems
    return plan if strategy is None else with_strategy(plan, strategy)


def with_strategy(plan: Plan, strategy: Strategy) -> Plan:
    """Return the plan with another strategy at its root."""
    return replace(plan, merge=replace(plan.merge, strategy=strategy))


@dataclass(frozen=True, slots=True)
class Delivered:
    """A reply and when it came."""

    at: float
    reply: Reply

    @property
    def y(self) -> list[float]:
        """The merged output ``y``, flat."""
        return [float(value) for value in self.reply.outputs["y"].array().reshape(-1)]

    @property
    def reason(self) -> str:
        """The error's reason, or nothing."""
        return self.reply.error.reason.name if self.reply.error else ""

    def of(self, rider: Rider) -> list[float]:
        """Return the rider's own rows of ``y``."""
        at = 0
        for other in self.reply.riders:
            rows = other.rows.stop - other.rows.start
            if other is rider:
                return self.y[at : at + rows]
            at += rows
        raise AssertionError(f"not for {rider}")


async def drive(
    members: Mapping[str, FakeMember],
    plan: Plan,
    x: Sequence[float] | dict[str, Array],
    *riders: Rider,
    wanted: Sequence[str] = (),
    keep_members: bool = False,
    leaving: Sequence[tuple[float, Rider]] = (),
) -> list[Delivered]:
    """Run one batch to its end and return what was delivered, in order.

    Args:
        members: The models by name.
        plan: The route.
        x: The column of input ``x``, one number per row; or all inputs by name.
        riders: By default one, who rides all rows until the plan's deadline.
        wanted: Outputs wanted.
        keep_members: Whether each seat's own outputs are wanted.
        leaving: When which rider leaves.
    """
    arrays = x if isinstance(x, dict) else {"x": np.array(x, np.float32).reshape(-1, 1)}
    n = len(next(iter(arrays.values()))) if plan.batches else 1
    loop = asyncio.get_running_loop()
    batch = Batch(
        route=plan,
        n=n,
        inputs={name: Tensor.from_array(array) for name, array in arrays.items()},
        wanted=wanted,
        riders=riders or [Rider("r", slice(0, n), loop.time(), loop.time() + plan.deadline_s)],
        keep_members=keep_members,
    )
    for when, rider in leaving:
        loop.call_at(when, batch.leave, rider)
    delivered: list[Delivered] = []
    await Engine(members).run(batch, lambda reply: delivered.append(Delivered(loop.time(), reply)))
    return delivered


def one_of(members: dict[str, FakeMember], plan: Plan, *args: Any, **kwargs: Any) -> Delivered:
    """Drive a batch of one rider through a plan, and return the one reply."""
    (delivered,) = run(drive(members, plan, *args, **kwargs))
    assert delivered.reply.final
    return delivered


def one(members: dict[str, FakeMember], ensembles: dict[str, Any], *args: Any, **kwargs: Any) -> Delivered:
    """Drive a batch of one rider through ensemble ``e``, and return the one reply."""
    return one_of(members, compiled(members, ensembles), *args, **kwargs)


def nested_with(plan: Plan, strategy: Strategy) -> Plan:
    """Replace the strategy of the first seat's ensemble."""
    first, *rest = plan.merge.seats
    assert isinstance(first.source, Merge)
    changed = replace(first, source=replace(first.source, strategy=strategy))
    return replace(plan, merge=replace(plan.merge, seats=(changed, *rest)))


def outcomes(delivered: Delivered) -> dict[str, tuple[str, str]]:
    """Return outcome and cause by seat."""
    return {
        seat.seat: (seat.outcome.name, seat.cause.name if seat.cause else "")
        for seat in delivered.reply.report.seats
    }


def riders(*deadlines: float, rows: int = 1) -> list[Rider]:
    """Return riders who arrive at time 0, each with the next rows."""
    return [
        Rider(f"r{i}", slice(i * rows, (i + 1) * rows), 0.0, deadline) for i, deadline in enumerate(deadlines)
    ]


class Cascade(Mean):
    """Asks the first seat; then each next one for the rows whose last answer is negative or missing."""

    kind = "cascade"

    def plan(self, state: State) -> tuple[Ask, ...]:
        asks = [Ask(0, ~state.asked[0])]
        for seat in range(1, len(state.seats)):
            before = state.outputs[seat - 1].get("y")
            unsure = state.failed[seat - 1].copy()
            if before is not None:
                unsure |= state.answered[seat - 1] & (before[:, 0] < 0)
            asks.append(Ask(seat, unsure & ~state.asked[seat]))
        return tuple(ask for ask in asks if ask.rows.any())

    def combine(self, state: State, rows: Mask) -> dict[str, Array]:
        y = np.full((state.n, 1), np.nan, np.float32)
        for answered, outputs in zip(state.answered, state.outputs, strict=True):
            if outputs:
                y = np.where(answered[:, None], outputs["y"], y)
        return {"y": y[rows]}
