"""Every command and snippet in the documentation does what it says, against a real server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from gateway.config import load
from gateway.strategies import registry
from tests.serving import Served, serve
from training import config as training

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
#: Fences that are shown, not run.
PROSE = {"text", "toml", "proto", "json", "pbtxt", ""}

#: Pages that speak to another example than the digits.
EXAMPLES = {"text.md": "text"}


@dataclass(frozen=True)
class Snippet:
    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page.name}:{self.line}"


def snippets() -> Iterator[Snippet]:
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text[: found.start()].count("\n") + 1
            yield Snippet(page, line, found[2], textwrap.dedent(found[3]))


SNIPPETS = list(snippets())


def of(*languages: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS if snippet.language in languages]


@dataclass(frozen=True)
class Demo:
    """An example being served, and its admin address."""

    server: Served
    admin: str

    def addressed(self, text: str) -> str:
        """Return a snippet with the addresses that this server really has."""
        return text.replace("127.0.0.1:8001", self.server.address).replace("unix:admin.sock", self.admin)


@pytest.fixture(scope="module")
def demo_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Demo]]:
    """What a page speaks to: each example is served once, when the first page needs it."""
    demos: dict[str, Demo] = {}

    def served(page: Path) -> Demo:
        example = EXAMPLES.get(page.name, "digits")
        if example not in demos:
            folder = tmp_path_factory.mktemp("docs")
            admin = f"unix:{folder}/admin.sock"
            server = serve(ROOT / "examples" / f"{example}.yaml", folder, ACCORD_SERVER__ADMIN=admin)
            demos[example] = Demo(server, admin)
        return demos[example]

    yield served
    assert [demo.server.stop() for demo in demos.values()] == [0] * len(demos)


def test_every_fence_is_of_a_known_language() -> None:
    """A snippet in an unknown language would be checked by nobody."""
    assert {snippet.language for snippet in SNIPPETS} <= PROSE | {"sh", "python", "yaml"}
    assert len(of("sh", "python", "yaml")) > 5


def test_every_link_leads_somewhere() -> None:
    """Files that are named exist, and so do the headings."""
    for page in PAGES:
        for target in re.findall(r"\]\(((?!https?:)[^)\s]*)\)", page.read_text()):
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            assert path.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in headings(path), f"{page.name}: {target}"


def headings(page: Path) -> set[str]:
    """Return the anchors that a page's headings have where it is shown."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted({s.page for s in of("python")}), ids=lambda page: page.name)
def test_python_snippets_run(demo_of: Callable[[Path], Demo], page: Path) -> None:
    """Those of one page, in order, run as one program against a gateway that serves the page's example."""
    demo = demo_of(page)
    text = "\n".join(snippet.text for snippet in of("python") if snippet.page == page)
    done = subprocess.run(
        [sys.executable, "-c", demo.addressed(text)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", of("sh"), ids=lambda s: s.id)
def test_shell_snippets_run(demo_of: Callable[[Path], Demo], snippet: Snippet) -> None:
    """Each line runs; ``make`` targets exist; what starts a server names a configuration that is valid."""
    demo = demo_of(snippet.page)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["ACCORD_ADDRESS"] = demo.server.address
    joined = demo.addressed(snippet.text).replace("\\\n", " ")
    for line in joined.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            assert {w for w in words[1:] if "=" not in w} <= MAKE_TARGETS, line
            continue
        if words[:2] == ["accord", "serve"]:
            load(ROOT / words[2])
            continue
        if words[0] in ("docker", "pip", "python3", "."):
            continue  # these change the machine; what they name is checked by the tests of its own folder
        done = subprocess.run(
            line,
            shell=True,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("snippet", of("yaml"), ids=lambda s: s.id)
def test_yaml_snippets_are_valid(snippet: Snippet, tmp_path: Path) -> None:
    """A whole configuration loads, a training too; a fragment names a strategy with options that it has."""
    tree = YAML(typ="safe").load(snippet.text)
    path = tmp_path / "accord.yaml"
    path.write_text(snippet.text)
    if "models" in tree:
        load(path)
    elif "tasks" in tree:
        training.load(path)
    else:
        assert set(tree) == {"strategy"}
        registry.build(tree["strategy"].pop("kind"), tree["strategy"])
