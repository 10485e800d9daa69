from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.strategies.registry import build, kinds, load

TEXT = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in found]


def row(kind: str) -> list[str]:
    cells = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("| `")]
    (found,) = [cell for cell in cells if f"`{kind}`" in cell[0]]
    return [cell.strip() for cell in found]


BUILT_IN = [kind for kind in kinds() if load(kind).__module__.startswith("gateway.strategies.")]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_table_lists_every_kind_with_its_options_and_traits(kind: str) -> None:
    """Each option and each trait that differs from the default is named in the kind's row, and no other."""
    options, traits = row(kind)[2], row(kind)[4]
    assert set(re.findall(r"`(\w+)`", options)) == set(load(kind).Options.model_fields)
    declared = load(kind).traits
    differing = {
        name if getattr(declared, name) else f"not {name}"
        for name in declared.__slots__
        if getattr(declared, name) != getattr(type(declared)(), name)
    }
    assert {trait.strip() for trait in traits.split(",") if trait.strip()} == differing


@pytest.mark.parametrize("snippet", blocks("yaml"))
def test_every_snippet_builds(snippet: str) -> None:
    """What stands in the documentation can be pasted."""
    options: dict[str, Any] = YAML(typ="safe").load(snippet)["strategy"]
    assert build(options.pop("kind"), options)


def test_the_recipe_works() -> None:
    """Its code runs as it stands and passes the laws, which are its last step."""
    scope: dict[str, Any] = {"__name__": "recipe"}
    for code in blocks("python"):
        exec(compile(code, "docs/strategies.md", "exec"), scope)
    assert scope["Optimist"].kind == "optimist"
