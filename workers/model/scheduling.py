"""How a model's requests wait and share runs: ``dynamic_batching`` of ``config.pbtxt`` as values.

What Triton refuses is refused, and what it leaves out has Triton's default. As in Triton, the policies of the
queue hold for a model that does not batch, too, while sizes and delay have no effect on it; here the log says
so.

Sources: Triton ``model_config.proto`` (``ModelDynamicBatching``, ``ModelQueuePolicy``); Triton core
``model_config_utils.cc`` (``NormalizeModelConfig``, ``ValidateModelConfig``).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protos.oip import model_config
from workers.model.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["QueuePolicy", "Scheduling", "read_scheduling"]

_log = logging.getLogger(__name__)

_DELAY = model_config.ModelQueuePolicy.TimeoutAction.DELAY


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy:
    """What one queue does with its requests.

    Args:
        timeout_s: How long a request may wait; None for any time.
        puts_back: Whether a request that waited longer goes behind the others instead of being refused.
        allows_override: Whether a request may bring a shorter timeout of its own.
        max_size: The most requests that may wait in it; 0 for any number.
    """

    timeout_s: float | None = None
    puts_back: bool = False
    allows_override: bool = False
    max_size: int = 0

    def timeout_of(self, asked_s: float | None) -> float | None:
        """Return how long a request may wait that asks for ``asked_s``; without a default it may not ask.

        Source: Triton core ``scheduler_utils.cc``, ``PolicyQueue::Enqueue``.

        Example:
            >>> policy = QueuePolicy(timeout_s=1.0, allows_override=True)
            >>> policy.timeout_of(0.5), policy.timeout_of(2.0)
            (0.5, 1.0)
        """
        if self.timeout_s is None or asked_s is None or not self.allows_override:
            return self.timeout_s
        return min(self.timeout_s, asked_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How requests of one model wait and share runs.

    Args:
        preferred_rows: Numbers of rows that are run at once where they can be made; none means the most.
        max_delay_s: How long the first request of a batch may wait for company while the model is free.
        levels: Number of priority levels, of which 1 is the highest; 0 where priorities have no effect.
        default_level: The level of requests that ask for none, or for one that does not exist.
        policy: The policy of levels that have none of their own.
        policies: Policies by level.
    """

    preferred_rows: frozenset[int] = frozenset()
    max_delay_s: float = 0.0
    levels: int = 0
    default_level: int = 0
    policy: QueuePolicy = QueuePolicy()
    policies: Mapping[int, QueuePolicy] = field(default_factory=dict)

    def level_of(self, priority: int) -> int:
        """Return the level of a request that asks for ``priority``.

        Source: Triton core ``infer_request.cc``, ``InferenceRequest::SetPriority``.

        Example:
            >>> three = Scheduling(levels=3, default_level=2)
            >>> [three.level_of(priority) for priority in (0, 1, 3, 4)]
            [2, 1, 3, 2]
        """
        return priority if 0 < priority <= self.levels else self.default_level

    def policy_of(self, level: int) -> QueuePolicy:
        """Return the policy of a level's queue."""
        return self.policies.get(level, self.policy)


def read_scheduling(path: Path, config: Any) -> Scheduling | None:
    """Read a config's ``dynamic_batching``; None where it has none.

    Args:
        path: The ``config.pbtxt``, for the messages.
        config: The ``ModelConfig`` message with its ``max_batch_size`` filled in.

    Raises:
        ModelError: Naming the field that is wrong.
    """
    if not config.HasField("dynamic_batching"):
        return None
    section = config.dynamic_batching
    batches = config.max_batch_size > 0
    if batches:
        _check_sizes(path, section, config.max_batch_size)
    elif section.preferred_batch_size or section.max_queue_delay_microseconds:
        _log.warning(
            "sizes and delay of dynamic_batching have no effect: the model does not batch",
            extra={"model": config.name},
        )
    _check_levels(path, section)
    if section.preserve_ordering:
        _check_order(path, section)
    levels = section.priority_levels
    return Scheduling(
        preferred_rows=frozenset(section.preferred_batch_size if batches else ()),
        max_delay_s=section.max_queue_delay_microseconds / 1e6 if batches else 0.0,
        levels=levels,
        default_level=section.default_priority_level if levels else 0,
        policy=_policy(section.default_queue_policy),
        policies={n: _policy(p) for n, p in section.priority_queue_policy.items()} if levels else {},
    )


def _check_sizes(path: Path, section: Any, max_rows: int) -> None:
    for size in section.preferred_batch_size:
        if not 0 < size <= max_rows:
            raise ModelError(
                path,
                f"dynamic_batching.preferred_batch_size has {size}; it must be from 1 to max_batch_size, "
                f"which is {max_rows}",
            )


def _check_levels(path: Path, section: Any) -> None:
    levels = section.priority_levels
    if not levels:
        return
    if not 0 < section.default_priority_level <= levels:
        raise ModelError(
            path,
            f"dynamic_batching.default_priority_level is {section.default_priority_level}; "
            f"it must be from 1 to priority_levels, which is {levels}",
        )
    for level in section.priority_queue_policy:
        if not 0 < level <= levels:
            raise ModelError(
                path,
                f"dynamic_batching.priority_queue_policy has a policy for level {level}; "
                f"levels go from 1 to priority_levels, which is {levels}",
            )


def _check_order(path: Path, section: Any) -> None:
    """Refuse what would let one request pass another."""
    if section.priority_levels > 1:
        raise ModelError(
            path,
            f"dynamic_batching.preserve_ordering forbids priority_levels {section.priority_levels}; "
            "leave one of the two out",
        )
    for policy in (section.default_queue_policy, *section.priority_queue_policy.values()):
        if policy.timeout_action == _DELAY and policy.default_timeout_microseconds:
            raise ModelError(
                path,
                "dynamic_batching.preserve_ordering forbids a queue policy whose timeout_action is DELAY; "
                "use REJECT, or leave preserve_ordering out",
            )


def _policy(message: Any) -> QueuePolicy:
    timeout_us = message.default_timeout_microseconds
    return QueuePolicy(
        timeout_s=timeout_us / 1e6 if timeout_us else None,
        puts_back=message.timeout_action == _DELAY,
        allows_override=message.allow_timeout_override,
        max_size=message.max_queue_size,
    )
