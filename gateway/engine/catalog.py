"""What is served: one compiled plan for each ensemble and each exposed model, kept up to date."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.config.schema import Strategy
from gateway.engine import override
from gateway.engine.compile import Problem, compile_ensemble
from gateway.engine.derive import lacking, wanting
from gateway.engine.single import compile_model
from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.config.schema import Config
    from gateway.engine.override import Overrides
    from gateway.engine.plan import Plan
    from gateway.members.member import Member
    from protos.model import ModelSpec

__all__ = ["Catalog"]


class Catalog:
    """Plans by name.

    Args:
        config: The configuration.
        members: The models that can be asked, by name.
    """

    def __init__(self, config: Config, members: Mapping[str, Member]) -> None:
        self.config = config
        self._members = members
        self._specs: dict[str, ModelSpec | None] = {}
        self._plans: dict[str, Plan] = {}
        # further versions of models, which share one interface as they share one config
        self._versions: dict[tuple[str, str], Plan] = {}
        self.problems: tuple[Problem, ...] = ()
        self._served_once: set[str] = set()
        self._out: set[str] = set()
        self._restrategised = lru_cache(maxsize=128)(self._restrategise)
        # equal overrides give one plan, so that their requests can ride together
        self._applied = lru_cache(maxsize=256)(override.apply)
        self._cut, self._cut_overridden = (lru_cache(maxsize=256)(wanting) for _ in range(2))
        self._lacking = lru_cache(maxsize=256)(lacking)
        self.refresh()

    def refresh(self) -> bool:
        """Compile again if more, or something else, is known of a model; tell whether that was so."""
        specs = {name: member.spec for name, member in self._members.items()}
        if specs == self._specs and self._plans:
            return False
        problems: dict[Problem, None] = {}
        for name in self.config.ensembles:
            self._plans[name], found = compile_ensemble(self.config, name, specs)
            problems.update(dict.fromkeys(found))
        self._versions.clear()
        for name, model in self.config.models.items():
            if model.expose:
                spec = specs[name]
                self._plans[name] = compile_model(self.config, name, spec)
                for version in spec.versions if spec else ():
                    self._versions[name, version] = compile_model(self.config, name, spec, version)
        self._specs = specs
        self.problems = tuple(problems)
        self._restrategised.cache_clear()
        self._applied.cache_clear()
        self._cut.cache_clear()
        self._cut_overridden.cache_clear()
        self._lacking.cache_clear()
        return True

    def plans(self) -> list[Plan]:
        """Return all plans, ensembles first, in config order."""
        return list(self._plans.values())

    def plan(self, name: str, version: str = "") -> Plan:
        """Look up a plan.

        Raises:
            AccordError: MODEL_NOT_FOUND or VERSION_NOT_FOUND.
        """
        plan = self._plans.get(name)
        if plan is None:
            raise AccordError(
                Reason.MODEL_NOT_FOUND, f"there is no model {name[:128]!r}", metadata={"model": name[:128]}
            )
        # a model that is not known yet has no version to compare with
        if not version or not plan.version:
            return plan
        # before the plan without a version: whoever names one must get no newer one
        if (name, version) in self._versions:
            return self._versions[name, version]
        if version == plan.version:
            return plan
        spec = self._specs.get(name)
        known = ", ".join(spec.versions) if spec and spec.versions else plan.version
        raise AccordError(
            Reason.VERSION_NOT_FOUND,
            f"model {name!r} has no version {version[:64]!r}; it has {known}",
            metadata={"model": name},
        )

    def overridden(self, plan: Plan, overrides: Overrides) -> Plan:
        """Return the plan that a request's overrides ask for.

        Raises:
            AccordError: PARAMETER_INVALID if they are not permitted or impossible.
        """
        if not overrides.used():
            return plan
        ensemble = self.config.ensembles.get(plan.name)
        override.check_permitted(plan, overrides, ensemble.overrides if ensemble else ())
        if overrides.strategy:
            plan = self._restrategised(
                plan.name, overrides.strategy, json.dumps(overrides.options, sort_keys=True)
            )
        return self._applied(plan, overrides)

    def lacking(self, plan: Plan, given: Collection[str]) -> Plan:
        """Return the plan that asks only those who can be asked with the given inputs.

        Args:
            plan: The plan that :meth:`overridden` gave.
            given: Names of the inputs that a request has.

        Raises:
            AccordError: INPUT_MISSING if that is nobody.
        """
        absent = plan.spared.difference(given) if plan.spared else None
        return self._lacking(plan, absent) if absent else plan

    def wanting(self, plan: Plan, wanted: Sequence[str]) -> Plan:
        """Return the plan that asks for no more than the wanted outputs need; none named means all.

        Args:
            plan: The plan that :meth:`lacking` gave.
            wanted: Names of its outputs.
        """
        if not wanted:
            return plan
        # plans that callers thought of may not push the others out
        lasting = plan in (self._plans.get(plan.name), self._versions.get((plan.name, plan.version)))
        cut = self._cut if lasting else self._cut_overridden
        return cut(plan, frozenset(wanted))

    def _restrategise(self, name: str, kind: str, options: str) -> Plan:
        strategy = Strategy.model_validate({"kind": kind, **json.loads(options)})
        changed = self.config.ensembles[name].model_copy(update={"strategy": strategy})
        config = self.config.model_copy(update={"ensembles": {**self.config.ensembles, name: changed}})
        plan, problems = compile_ensemble(config, name, self._specs)
        new = [problem for problem in problems if problem not in self.problems]
        if new:  # raised, not returned: what a caller gets wrong must not fill the cache
            raise override.invalid(plan, "strategy", new[0].message)
        return plan

    def model_ready(self, model: str) -> bool:
        """Tell whether a member model can be asked now."""
        return self._members[model].ready

    def ready(self, plan: Plan) -> bool:
        """Tell whether a call to this plan can be answered now."""
        return plan.known and plan.name not in self._out and plan.can_answer(self.model_ready)

    def server_ready(self) -> bool:
        """Tell whether the server as a whole is ready.

        It is when everything served could be answered at least once, and at least one can be now.
        """
        now = {plan.name for plan in self._plans.values() if self.ready(plan)}
        self._served_once |= now
        watched = self.config.ensembles or self._plans
        return bool(now) and self._served_once >= set(watched)

    def spec(self, model: str) -> ModelSpec | None:
        """Return what is known of a model; None = nothing yet."""
        return self._specs[model]

    def models_of(self, ensemble: str) -> list[str]:
        """Return the models that an ensemble is made of, nested ones included, each once."""
        found: dict[str, None] = {}
        for member in self.config.ensembles[ensemble].members:
            nested = member.ensemble is not None
            found.update(dict.fromkeys(self.models_of(member.target) if nested else [member.target]))
        return list(found)

    def take_out(self, name: str) -> None:
        """Answer no more calls to a name, until :meth:`take_in`; as members of others they are asked on."""
        self._out.add(name)

    def take_in(self, name: str) -> None:
        """Answer calls to a name again."""
        self._out.discard(name)

    def is_out(self, name: str) -> bool:
        """Tell whether a name was taken out."""
        return name in self._out

    def serves(self, name: str) -> bool:
        """Tell whether anything is served under a name."""
        return name in self._plans
