"""The catalog: plans by name, kept up to date, and readiness."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gateway.config.schema import Quorum
from gateway.engine.catalog import Catalog
from gateway.engine.override import Overrides
from gateway.strategies.order import TrimmedMean
from protos.errors import AccordError, Reason
from protos.tensor import TensorSpec
from tests.fakes import FakeMember, config, ensemble, seats, spec


def catalog(members: dict[str, FakeMember], **ensembles: Any) -> Catalog:
    return Catalog(config(ensembles, members), members)


def members_of(*names: str) -> dict[str, FakeMember]:
    return {name: FakeMember(spec(name)) for name in names}


def problems(served: Catalog) -> list[tuple[str, int | None]]:
    return [(problem.ensemble, problem.seat) for problem in served.problems]


def refused(served: Catalog, overrides: Overrides) -> AccordError:
    with pytest.raises(AccordError) as caught:
        served.overridden(served.plan("e"), overrides)
    assert caught.value.reason is Reason.PARAMETER_INVALID
    return caught.value


def test_ensembles_and_exposed_models_are_served_under_their_names() -> None:
    """Ensembles first, then models, in config order; a hidden model is a member only."""
    members = members_of("a", "b")
    settings = config({"e": ensemble(*seats("b", "a"))}, members)
    hidden = settings.models["b"].model_copy(update={"expose": False})
    served = Catalog(settings.model_copy(update={"models": {**settings.models, "b": hidden}}), members)
    assert [plan.name for plan in served.plans()] == ["e", "a"]
    assert served.serves("a")
    assert not served.serves("b")


def test_unknown_names_and_versions_are_told_apart() -> None:
    """A typo in the name is another error than a version that is not served."""
    served = catalog(members_of("a"), e=ensemble(*seats("a"), version="3"))
    assert served.plan("e", "3") is served.plan("e") is served.plan("e", "")
    for name, version, reason in (
        ("nope", "", Reason.MODEL_NOT_FOUND),
        ("e", "2", Reason.VERSION_NOT_FOUND),
        ("a", "2", Reason.VERSION_NOT_FOUND),
    ):
        with pytest.raises(AccordError) as caught:
            served.plan(name, version)
        assert caught.value.reason is reason
        assert caught.value.metadata == {"model": name}


def test_a_version_that_is_named_is_the_one_that_is_asked_for() -> None:
    """Also the newest one known: who names it must not get a newer one that has come since."""
    both = replace(spec("a", version="2"), versions=("1", "2"))
    served = catalog({"a": FakeMember(both)})
    assert [served.plan("a", version).calls[0].version for version in ("", "1", "2")] == ["", "1", "2"]


def test_a_model_that_becomes_known_changes_the_plans_that_use_it() -> None:
    """Refresh compiles again when something else is known, and only then."""
    members = members_of("a") | {"b": FakeMember(None)}
    served = catalog(members, e=ensemble(*seats("a", "b"), quorum=1))
    before = served.plan("e")
    assert [call.model for call in before.calls] == ["a"]
    assert not served.plan("b").known
    assert not served.refresh()
    assert served.plan("e") is before
    members["b"].spec = spec("b")
    assert served.refresh()
    assert [call.model for call in served.plan("e").calls] == ["a", "b"]
    assert served.plan("b").known


def test_a_model_that_does_not_fit_when_it_comes_is_a_problem_and_no_outage() -> None:
    """Its seat is barred, the ensemble is served, and the problem is there for the operator."""
    members = members_of("a") | {"b": FakeMember(None)}
    served = catalog(members, e=ensemble(*seats("a", "b"), quorum=1))
    assert problems(served) == []
    members["b"].spec = spec("b", outputs=[TensorSpec("y", "INT64", (-1, 1))])
    served.refresh()
    assert problems(served) == [("e", 1)]
    assert served.ready(served.plan("e"))
    members["b"].spec = spec("b")
    served.refresh()
    assert problems(served) == []


def test_a_plan_is_ready_when_its_quorum_can_be_reached_now() -> None:
    """Readiness follows the members without compiling anything."""
    members = members_of("a", "b", "c")
    served = catalog(members, e=ensemble(*seats("a", "b", "c"), quorum=2))
    plan = served.plan("e")
    assert served.ready(plan)
    members["a"].ready = False
    assert served.ready(plan)
    members["b"].ready = False
    assert not served.ready(plan)
    assert not served.ready(served.plan("a"))


def test_the_server_is_ready_once_every_ensemble_was_and_while_one_is() -> None:
    """A member that goes down later takes its ensemble down, not the server."""
    members = members_of("a", "b")
    members["b"].ready = False
    served = catalog(members, one=ensemble(*seats("a")), two=ensemble(*seats("b")))
    assert not served.server_ready()
    members["b"].ready = True
    assert served.server_ready()
    members["b"].ready = False
    assert served.server_ready()
    members["a"].ready = False
    assert not served.server_ready()


def test_without_ensembles_the_models_make_the_server_ready() -> None:
    """A gateway that only serves models under their own names waits for all of them once."""
    members = members_of("a", "b")
    members["b"].ready = False
    served = catalog(members)
    assert not served.server_ready()
    members["b"].ready = True
    assert served.server_ready()


def test_no_override_is_the_plan_itself() -> None:
    """The common request costs nothing."""
    served = catalog(members_of("a"), e=ensemble(*seats("a")))
    assert served.overridden(served.plan("e"), Overrides()) is served.plan("e")


def test_a_model_under_its_own_name_takes_no_overrides() -> None:
    """There is nothing to choose."""
    served = catalog(members_of("a"), e=ensemble(*seats("a"), overrides=["members"]))
    with pytest.raises(AccordError) as caught:
        served.overridden(served.plan("a"), Overrides(members=("a",)))
    assert caught.value.reason is Reason.PARAMETER_INVALID


def test_a_permitted_strategy_replaces_the_configured_one() -> None:
    """The plan is proved again with it; other overrides apply on top."""
    permitted = ["strategy", "members", "quorum", "weights"]
    served = catalog(members_of("a", "b"), e=ensemble(*seats("a", "b"), overrides=permitted))
    overrides = Overrides(
        strategy="trimmed_mean",
        options={"trim": 0.25},
        members=("b",),
        quorum=Quorum(count=1),
        weights={"b": 2.0},
    )
    plan = served.overridden(served.plan("e"), overrides)
    assert plan.merge.strategy.kind == "trimmed_mean"
    assert plan.merge.strategy.options == TrimmedMean.Options.model_validate({"trim": 0.25})
    assert [seat.chosen for seat in plan.merge.seats] == [False, True]
    assert served.plan("e").merge.strategy.kind == "mean"


def test_an_overriding_strategy_is_compiled_once_until_something_is_known_anew() -> None:
    """The same wish finds its plan; a refresh forgets it, because the models may have changed."""
    members = members_of("a")
    served = catalog(members, e=ensemble(*seats("a"), overrides=["strategy"]))
    wish = Overrides(strategy="max")
    merge = served.overridden(served.plan("e"), wish).merge
    assert served.overridden(served.plan("e"), wish).merge.strategy is merge.strategy
    members["a"].spec = spec("a", version="2")
    served.refresh()
    assert served.overridden(served.plan("e"), wish).merge.strategy is not merge.strategy


@pytest.mark.parametrize(
    ("kind", "options", "word"),
    [
        ("meen", "{}", "did you mean"),
        ("mean", '{"nope": 1}', "'nope'"),
        ("trimmed_mean", '{"trim": "x"}', "'trim'"),
        ("trimmed_mean", '{"trim": NaN}', "'trim'"),
        ("trimmed_mean", '{"trim": 1e999}', "'trim'"),
        ("mean", '{"output": "z"}', "'z'"),
        ("mean", '{"options": 1}', "'options'"),
    ],
)
def test_an_impossible_strategy_is_refused_whatever_its_options(kind: str, options: str, word: str) -> None:
    """Any JSON that a caller can send is answered PARAMETER_INVALID, with what is wrong."""
    served = catalog(members_of("a", "b"), e=ensemble(*seats("a", "b"), overrides=["strategy"]))
    error = refused(served, Overrides(strategy=kind, options=json.loads(options)))
    assert error.field == "strategy"
    assert word in error.message
    error.message.encode()


def test_problems_that_the_ensemble_has_anyway_do_not_refuse_a_strategy() -> None:
    """A seat that is barred under the configured strategy too is not the request's fault."""
    members = members_of("a", "b") | {"c": FakeMember(spec("c", inputs=[TensorSpec("x", "INT8", (-1, 1))]))}
    served = catalog(members, e=ensemble(*seats("a", "b", "c"), quorum=1, overrides=["strategy"]))
    assert problems(served) == [("e", 2)]
    assert served.overridden(served.plan("e"), Overrides(strategy="max")).merge.strategy.kind == "max"


def test_what_a_caller_gets_wrong_does_not_fill_the_memory() -> None:
    """Refused strategies are not kept: the cache holds only plans that can be used again."""
    served = catalog(members_of("a"), e=ensemble(*seats("a"), overrides=("strategy",)))
    for i in range(3):
        refused(served, Overrides(strategy="mean", options={"output": f"nothing{i}"}))
    assert served._restrategised.cache_info().currsize == 0
    served.overridden(served.plan("e"), Overrides(strategy="max"))
    assert served._restrategised.cache_info().currsize == 1
