from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from accord.strategy import SeatSpec, TensorSpec
from gateway.strategies.registry import build

if TYPE_CHECKING:
    from accord.strategy import Array, Mask, State


class Merge(Protocol):
    def __call__(
        self, kind: str, state: State, rows: Mask | None = None, **options: Any
    ) -> dict[str, Array]: ...


class Prove(Protocol):
    def __call__(self, kind: str, *seats: SeatSpec, **options: Any) -> tuple[TensorSpec, ...]: ...


class Seat(Protocol):
    def __call__(self, name: str, *outputs: TensorSpec, weight: float = 1.0) -> SeatSpec: ...


@pytest.fixture
def merge() -> Merge:
    """Merge a batch, by default all its rows."""

    def merge(kind: str, state: State, rows: Mask | None = None, **options: Any) -> dict[str, Array]:
        return build(kind, options).combine(state, np.ones(state.n, np.bool_) if rows is None else rows)

    return merge


@pytest.fixture
def prove() -> Prove:
    """Return what a strategy says that these seats yield."""

    def prove(kind: str, *seats: SeatSpec, **options: Any) -> tuple[TensorSpec, ...]:
        return build(kind, options).outputs(seats)

    return prove


@pytest.fixture
def seat() -> Seat:
    """Describe a seat."""

    def seat(name: str, *outputs: TensorSpec, weight: float = 1.0) -> SeatSpec:
        return SeatSpec(name=name, weight=weight, outputs={spec.name: spec for spec in outputs})

    return seat
