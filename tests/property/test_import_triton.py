"""Any graph of steps that Triton loads becomes an ensemble of ours that computes the same from the same."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.graph.shown import REQUEST, show
from accord.importing.document import write
from accord.importing.graph import steps_of
from accord.importing.repository import declared
from accord.importing.translate import translate
from accord.importing.values import BrokenGraphs, Found
from gateway.config import Config, load
from gateway.engine.compile import compile_ensemble
from protos.oip import model_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hypothesis.strategies import DrawFn

    from gateway.engine.plan import Plan

TYPES = {"FP32": "TYPE_FP32", "BYTES": "TYPE_STRING"}
#: Names of tensors with their datatypes.
Side = dict[str, str]


def found(name: str, inputs: Side, outputs: Side, steps: Sequence[Mapping[str, Any]] = ()) -> Found:
    config = model_config.ModelConfig(name=name, max_batch_size=8)
    for side, entries in ((inputs, config.input), (outputs, config.output)):
        for tensor, datatype in side.items():
            entries.add(name=tensor, data_type=model_config.DataType.Value(TYPES[datatype]), dims=[4])
    for step in steps:
        config.platform = "ensemble"
        config.ensemble_scheduling.step.add(model_version=-1, **step)
    return Found(name=name, config=config, spec=declared(config))


@st.composite
def pipelines(draw: DrawFn, name: str, repository: dict[str, Found]) -> Found:
    """Draw an ensemble, whose steps are models of the repository or new ones, which are added to it."""
    kinds = st.sampled_from(list(TYPES))
    inputs = {f"{name} in {i}": draw(kinds) for i in range(draw(st.integers(1, 3)))}
    there, unread, steps = dict(inputs), dict(inputs), []
    count = draw(st.integers(1, 6))
    for i in range(count):
        last = i == count - 1
        model = draw(st.sampled_from([None, *repository.values()]))
        if model is not None:  # one that is there can be used if there is something for each of its inputs
            fitting = {t.name: [n for n, d in there.items() if d == t.datatype] for t in model.spec.inputs}
        if model is None or last or not all(fitting.values()):
            chosen = draw(st.lists(st.sampled_from(list(there)), min_size=1, max_size=3, unique=True))
            chosen = list(dict.fromkeys([*chosen, *(t for t in unread if last and t in inputs)]))
            reads = {f"i{j}": tensor for j, tensor in enumerate(chosen)}
            gives = {f"o{j}": draw(kinds) for j in range(draw(st.integers(1, 3)))}
            model = found(f"{name}.m{i}", {own: there[t] for own, t in reads.items()}, gives)
            repository[model.name] = model
        else:
            reads = {own: draw(st.sampled_from(names)) for own, names in fitting.items()}
            gives = {tensor.name: tensor.datatype for tensor in model.spec.outputs}
        mapped = draw(st.lists(st.sampled_from(list(gives)), min_size=1, unique=True))
        writes = {own: f"{name} {i} {own}" for own in mapped}
        steps.append({"model_name": model.name, "input_map": reads, "output_map": writes})
        for tensor in reads.values():
            unread.pop(tensor, None)
        for own, tensor in writes.items():
            there[tensor] = unread[tensor] = gives[own]
    inner = [tensor for tensor in there if tensor not in inputs]
    also = draw(st.lists(st.sampled_from(inner), unique=True))
    outputs = {tensor: there[tensor] for tensor in inner if tensor in unread or tensor in also}
    return found(name, inputs, outputs, draw(st.permutations(steps)))


@st.composite
def repositories(draw: DrawFn) -> dict[str, Found]:
    """Draw two ensembles, of which the second may have the first as a step."""
    repository: dict[str, Found] = {}
    for name in ("inner", "outer"):
        ensemble = draw(pipelines(name, repository))
        repository[name] = ensemble
    return repository


class Terms(dict[Any, int]):
    """Numbers what tensors are made of, equal things alike: a term of numbers is small however deep it is."""

    def __missing__(self, term: Any) -> int:
        self[term] = len(self)
        return self[term]


def of_triton(ensemble: Found, repository: Mapping[str, Found], terms: Terms) -> dict[str, int]:
    """Return what each output is: a tensor of the request, or an output of a model after its inputs."""
    steps = {
        tensor: (step, own) for step in steps_of(ensemble.config) for own, tensor in step.outputs.items()
    }

    def evaluate(made: dict[str, int], wanted: str, among: Mapping[str, Any]) -> int:
        if wanted not in made:
            step, own = among[wanted]
            inputs = {name: evaluate(made, tensor, among) for name, tensor in step.inputs.items()}
            below = repository[step.model]
            if below.is_ensemble:
                of_below = {t: (s, o) for s in steps_of(below.config) for o, t in s.outputs.items()}
                made[wanted] = evaluate(inputs, own, of_below)
            else:
                made[wanted] = terms[below.name, frozenset(inputs.items()), own]
        return made[wanted]

    given_tensors = {tensor.name: terms[tensor.name] for tensor in ensemble.config.input}
    return {tensor.name: evaluate(given_tensors, tensor.name, steps) for tensor in ensemble.config.output}


def of_ours(plan: Plan, terms: Terms) -> dict[str, int]:
    """Return the same of a compiled plan, by what it shows."""
    shown = show(plan)
    calls = {call.id: call for call in shown.calls}
    merges = {merge.id: merge for merge in shown.merges}

    @cache
    def evaluate(source: str, output: str) -> int:
        if source == REQUEST:
            return terms[output]
        if source in calls:
            call = calls[source]
            inputs = {read.input: evaluate(read.ports[0].source, read.ports[0].output) for read in call.reads}
            return terms[call.model, frozenset(inputs.items()), output]
        asked = {name: (seat.asks, own) for seat in merges[source].seats for name, own in seat.outputs}
        return evaluate(*asked[output])

    return {tensor.name: evaluate(shown.merges[-1].id, tensor.name) for tensor in shown.outputs}


@given(repository=repositories())
@settings(max_examples=150, deadline=None)
def test_a_graph_computes_the_same(repository: dict[str, Found]) -> None:
    """It compiles without a problem; inputs, outputs and what these are made of are Triton's."""
    imported = translate(repository, folder="models")
    assert not [note for note in imported.notes if note.left_out]
    config = Config.model_validate({"models": imported.models, "ensembles": imported.ensembles})
    specs = {name: repository[name].spec for name in config.models}
    for name in ("inner", "outer"):
        ensemble = repository[name]
        plan, problems = compile_ensemble(config, name, specs)
        assert problems == []
        assert ensemble.spec is not None
        assert sorted(plan.inputs, key=lambda t: t.name) == sorted(ensemble.spec.inputs, key=lambda t: t.name)
        assert sorted(plan.outputs, key=lambda t: t.name) == sorted(
            ensemble.spec.outputs, key=lambda t: t.name
        )
        terms = Terms()
        assert of_ours(plan, terms) == of_triton(ensemble, repository, terms)


@given(repository=repositories())
@settings(max_examples=15, deadline=None)
def test_the_file_says_what_was_translated(
    tmp_path_factory: pytest.TempPathFactory, repository: dict[str, Found]
) -> None:
    """Whatever the names, it loads as the same configuration, but for paths that it resolves."""
    imported = translate(repository, folder="/models")
    path = tmp_path_factory.mktemp("imported") / "accord.yaml"
    path.write_text(write(imported, "models"), encoding="utf-8")
    config = Config.model_validate({"models": imported.models, "ensembles": imported.ensembles})
    assert load(path)[0] == config


def rename_read(step: Any) -> str:
    own = min(step.input_map)
    step.input_map[own] = "nowhere"
    return "nowhere"


def rename_model(step: Any) -> str:
    step.model_name = "nobody"
    return "nobody"


def rename_input(step: Any) -> str:
    step.input_map["nothing"] = step.input_map[min(step.input_map)]
    return "nothing"


def rename_output(step: Any) -> str:
    step.output_map["nothing"] = "unheard"
    return "unheard"


@given(repository=repositories(), data=st.data())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("damage", [rename_read, rename_model, rename_input, rename_output])
def test_a_broken_graph_is_refused_by_name(
    damage: Callable[[Any], str], repository: dict[str, Found], data: st.DataObject
) -> None:
    """Whatever step is damaged, the refusal names ensemble, place and what is wrong."""
    ensemble = repository["outer"]
    damaged = damage(data.draw(st.sampled_from(list(ensemble.config.ensemble_scheduling.step))))
    with pytest.raises(BrokenGraphs) as refused:
        translate(repository, folder="models")
    assert {fault.ensemble for fault in refused.value.faults} == {"outer"}
    assert damaged in str(refused.value)
