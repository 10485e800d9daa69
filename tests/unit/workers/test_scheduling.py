"""``dynamic_batching`` of a config, as values or as one sentence for the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from protos.oip import model_config
from workers.model.errors import ModelError
from workers.model.scheduling import QueuePolicy, Scheduling, read_scheduling

PATH = Path("m/config.pbtxt")
PUTS_BACK = "timeout_action: DELAY default_timeout_microseconds: 1"


def config(section: str, *, max_rows: int = 8) -> Any:
    text = f"max_batch_size: {max_rows} dynamic_batching {{ {section} }}"
    return text_format.Parse(text, model_config.ModelConfig())


def test_a_config_without_the_section_asks_for_nothing() -> None:
    """Absent and empty are two things: only the empty section makes batches."""
    assert read_scheduling(PATH, model_config.ModelConfig(max_batch_size=8)) is None
    assert read_scheduling(PATH, config("")) == Scheduling()


def test_every_field_arrives() -> None:
    """Microseconds become seconds, and each level has its own policy."""
    text = """
        preferred_batch_size: [ 4, 8 ]
        max_queue_delay_microseconds: 1500
        priority_levels: 3
        default_priority_level: 2
        default_queue_policy { default_timeout_microseconds: 1000000 allow_timeout_override: true }
        priority_queue_policy { key: 3 value {
            timeout_action: DELAY default_timeout_microseconds: 250000 max_queue_size: 7 } }
    """
    scheduling = read_scheduling(PATH, config(text))
    assert scheduling == Scheduling(
        preferred_rows=frozenset({4, 8}),
        max_delay_s=0.0015,
        levels=3,
        default_level=2,
        policy=QueuePolicy(timeout_s=1.0, allows_override=True),
        policies={3: QueuePolicy(timeout_s=0.25, puts_back=True, max_size=7)},
    )
    assert scheduling.policy_of(1) is scheduling.policy
    assert scheduling.policy_of(3).max_size == 7


def test_without_levels_priorities_mean_nothing() -> None:
    """As in Triton, a default level and policies of levels are then passed over."""
    text = "default_priority_level: 5 priority_queue_policy { key: 1 value { max_queue_size: 1 } }"
    scheduling = read_scheduling(PATH, config(text))
    assert scheduling == Scheduling()
    assert {scheduling.level_of(priority) for priority in (0, 1, 5, 2**64 - 1)} == {0}


def test_a_priority_that_does_not_exist_is_the_default_level() -> None:
    """0 and whatever is above the levels, as in Triton."""
    scheduling = read_scheduling(PATH, config("priority_levels: 3 default_priority_level: 2"))
    assert scheduling is not None
    assert [scheduling.level_of(priority) for priority in (0, 1, 2, 3, 4, 2**64 - 1)] == [2, 1, 2, 3, 2, 2]


@pytest.mark.parametrize(
    ("policy", "asked_s", "timeout_s"),
    [
        (QueuePolicy(), None, None),
        (QueuePolicy(timeout_s=1.0), 0.5, 1.0),
        (QueuePolicy(timeout_s=1.0, allows_override=True), None, 1.0),
        (QueuePolicy(timeout_s=1.0, allows_override=True), 0.5, 0.5),
        (QueuePolicy(timeout_s=1.0, allows_override=True), 2.0, 1.0),
        (QueuePolicy(allows_override=True), 0.5, None),
    ],
)
def test_a_request_may_only_shorten_a_timeout(
    policy: QueuePolicy, asked_s: float | None, timeout_s: float | None
) -> None:
    """And only where the policy has one and lets it, as in Triton."""
    assert policy.timeout_of(asked_s) == timeout_s


@pytest.mark.parametrize(
    ("section", "field", "remedy"),
    [
        ("preferred_batch_size: [ 4, 9 ]", "preferred_batch_size has 9", "max_batch_size, which is 8"),
        ("preferred_batch_size: 0", "preferred_batch_size has 0", "from 1"),
        ("preferred_batch_size: -1", "preferred_batch_size has -1", "from 1"),
        ("priority_levels: 2", "default_priority_level is 0", "from 1 to priority_levels"),
        (
            "priority_levels: 2 default_priority_level: 3",
            "default_priority_level is 3",
            "priority_levels, which is 2",
        ),
        (
            "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { } }",
            "priority_queue_policy has a policy for level 3",
            "priority_levels, which is 2",
        ),
        (
            "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 0 value { } }",
            "priority_queue_policy has a policy for level 0",
            "priority_levels, which is 2",
        ),
        (
            "preserve_ordering: true priority_levels: 2 default_priority_level: 1",
            "preserve_ordering forbids priority_levels 2",
            "leave one",
        ),
        (
            f"preserve_ordering: true default_queue_policy {{ {PUTS_BACK} }}",
            "preserve_ordering forbids a queue policy whose timeout_action is DELAY",
            "use REJECT",
        ),
        (
            f"preserve_ordering: true priority_queue_policy {{ key: 1 value {{ {PUTS_BACK} }} }}",
            "preserve_ordering forbids",
            "use REJECT",
        ),
    ],
)
def test_what_triton_refuses_is_refused_with_file_field_and_remedy(
    section: str, field: str, remedy: str
) -> None:
    """One sentence names the file, the field, its value and what would be right."""
    with pytest.raises(ModelError) as caught:
        read_scheduling(PATH, config(section))
    assert caught.value.path == PATH
    assert f"dynamic_batching.{field}" in caught.value.cause
    assert remedy in caught.value.cause


@pytest.mark.parametrize(
    "section",
    [
        "preserve_ordering: true",
        "preserve_ordering: true priority_levels: 1 default_priority_level: 1",
        "preserve_ordering: true default_queue_policy { timeout_action: DELAY }",
        "preferred_batch_size: [ 1, 8 ]",
    ],
)
def test_what_triton_takes_is_taken(section: str) -> None:
    """One level keeps the order, and a DELAY that never comes cannot break it."""
    assert read_scheduling(PATH, config(section)) is not None


def test_a_model_that_does_not_batch_is_served_and_never_batched(caplog: pytest.LogCaptureFixture) -> None:
    """A repository that Triton loads is loaded, and whoever reads the log learns of the contradiction."""
    text = "preferred_batch_size: 4 max_queue_delay_microseconds: 100"
    assert read_scheduling(PATH, config(text, max_rows=0)) == Scheduling()
    assert "does not batch" in caplog.text


def test_a_queue_policy_holds_for_a_model_that_does_not_batch(caplog: pytest.LogCaptureFixture) -> None:
    """The queue's size and timeout are as configured, and nothing is left to complain of."""
    text = "default_queue_policy { max_queue_size: 1 default_timeout_microseconds: 500000 }"
    scheduling = read_scheduling(PATH, config(text, max_rows=0))
    assert scheduling == Scheduling(policy=QueuePolicy(max_size=1, timeout_s=0.5))
    assert not caplog.text
