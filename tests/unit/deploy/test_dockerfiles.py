"""What holds for every image, read from its Dockerfile: there is no daemon here that could build it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "deploy/docker").glob("*.Dockerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")

every_image = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix(".Dockerfile"))


def instructions(text: str) -> list[tuple[str, str]]:
    """Return (instruction, arguments) in order, continued lines joined and comments dropped."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]


def final_stage(path: Path) -> list[tuple[str, str]]:
    found = instructions(path.read_text())
    last = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def environment(path: Path) -> dict[str, str]:
    pairs = [pair for word, rest in final_stage(path) if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def enters_build(name: str) -> bool:
    """Tell whether .dockerignore lets a path into the build; the last pattern that matches decides."""
    included = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parts = Path(name).parts
        if any(fnmatch("/".join(parts[: i + 1]), pattern) for i in range(len(parts))):
            included = line.startswith("!")
    return included


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, path], capture_output=True, text=True, timeout=30, check=False)


def test_all_three_images_are_here() -> None:
    """A gateway, a worker for CPUs and one for GPUs; the checks below see all of them."""
    assert {path.name.removesuffix(".Dockerfile") for path in FILES} == {"gateway", "worker", "worker-gpu"}


@every_image
def test_it_passes_hadolint(path: Path) -> None:
    """The linter has no complaint."""
    done = lint(path)
    assert done.returncode == 0, done.stdout


def test_hadolint_can_fail(tmp_path: Path) -> None:
    """The linter does complain of an unpinned base and a package list that is left behind."""
    path = tmp_path / "Dockerfile"
    path.write_text("FROM debian\nRUN apt-get update && apt-get install -y curl\n")
    assert {"DL3006", "DL3009"} <= set(re.findall(r"DL\d+", lint(path).stdout))


@every_image
def test_bases_are_pinned(path: Path) -> None:
    """Every stage starts from a full version of its base, never from a moving tag."""
    bases = [rest.split()[0] for word, rest in instructions(path.read_text()) if word == "FROM"]
    assert len(bases) == 2
    for base in bases:
        assert re.search(r":\d+\.\d+\.\d+-", base), base


@every_image
def test_it_does_not_run_as_root(path: Path) -> None:
    """The final user is a number other than 0, so that Kubernetes can check it, and nothing undoes it."""
    users = [rest for word, rest in final_stage(path) if word == "USER"]
    assert users == ["65532:65532"]


@every_image
def test_nothing_comes_from_a_url(path: Path) -> None:
    """No ADD, no download tool: all code comes from the build context or, by hash, from the lock."""
    found = instructions(path.read_text())
    assert "ADD" not in {word for word, _ in found}
    for word, rest in found:
        assert not re.search(r"\b(curl|wget|git clone)\b|https?://(?!127\.0\.0\.1)", rest), (word, rest)


@every_image
def test_what_it_copies_is_there(path: Path) -> None:
    """Every source of a COPY exists and is let through by .dockerignore."""
    for word, rest in instructions(path.read_text()):
        if word == "COPY" and "--from" not in rest:
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert enters_build(source), source


def test_secrets_and_models_stay_out_of_the_build() -> None:
    """What is not named in .dockerignore does not enter, wherever it lies."""
    for name in (
        ".git",
        ".env",
        "build/models/x/1/model.onnx",
        "tests/models.py",
        "accord/__pycache__/x.pyc",
    ):
        assert not enters_build(name), name
    assert enters_build("accord/commands/serve.py")


@every_image
def test_packages_are_installed_by_hash_only(path: Path) -> None:
    """Each `pip install` takes hashed wheels from a lock, or the wheel just built and nothing else."""
    runs = " && ".join(rest for word, rest in instructions(path.read_text()) if word == "RUN")
    installs = [command for command in runs.split("&&") if re.search(r"pip\b.* install ", command)]
    assert len(installs) == 3
    for command in installs:
        hashed = "--require-hashes" in command and "--only-binary :all:" in command
        assert hashed or "--no-deps --no-index" in command, command


@every_image
def test_it_can_be_run_as_planned(path: Path) -> None:
    """Ports, signal, health check, entry point, labels, and settings that a container needs."""
    stage = dict(final_stage(path))
    assert stage["EXPOSE"].split() == ["8001", "8002"]
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(stage["ENTRYPOINT"]) == ["accord"]
    assert json.loads(stage["CMD"])[0] in ("serve", "worker")
    assert "HEALTHCHECK" in stage
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in stage["LABEL"]
    settings = environment(path)
    assert settings["MALLOC_ARENA_MAX"] == "2"
    assert settings["ACCORD_SERVER__ADDRESS"] == "0.0.0.0:8001"
    assert settings["ACCORD_SERVER__METRICS"] == "0.0.0.0:8002"
    # with a read-only root, only /tmp is writable
    assert settings["HOME"] == "/tmp"
    assert settings["PYTHONDONTWRITEBYTECODE"] == "1"


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/deploy.md"], ids=lambda page: page.name)
def test_documented_builds_name_files_that_exist(page: Path) -> None:
    """A `docker ... -f FILE` in the documentation is a file of this repository."""
    for name in re.findall(r"docker (?:build|compose) .*?-f (\S+)", page.read_text().replace("\\\n", " ")):
        assert (ROOT / name).is_file(), name
