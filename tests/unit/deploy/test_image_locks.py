"""The lock files of the images: complete, hashed, and the same versions as those that are tested."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
LOCKS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Lock of an image -> the extra that it holds.
EXTRAS = {"gateway": "", "runtime-cpu": "cpu", "runtime-gpu": "gpu"}
#: What the images run; the lock may hold other versions for other Pythons.
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.15", "sys_platform": "linux"}


def entries(lock: str) -> dict[str, tuple[str, int]]:
    """Return version and number of hashes by package, as they hold in the images."""
    found: dict[str, tuple[str, int]] = {}
    for block in re.split(r"\n(?=\S)", (LOCKS / f"{lock}.lock").read_text()):
        head = block.split("\\\n")[0].strip()
        if head.startswith("#"):
            continue
        requirement = Requirement(head)
        if requirement.marker is None or requirement.marker.evaluate(PYTHON):
            version = str(requirement.specifier).removeprefix("==")
            found[canonicalize_name(requirement.name)] = (version, block.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize(("lock", "extra"), EXTRAS.items())
def test_a_lock_holds_what_the_project_asks_for(lock: str, extra: str) -> None:
    """Every dependency, and every one of the extra, is there in a version that satisfies it."""
    asked = [*PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] if extra else ())]
    held = entries(lock)
    for requirement in map(Requirement, asked):
        version, _ = held[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), (requirement, version)


@pytest.mark.parametrize("lock", [*EXTRAS, "build"])
def test_every_entry_is_hashed(lock: str) -> None:
    """Pip refuses the whole file otherwise, but only where an image is built."""
    assert [name for name, (_, hashes) in entries(lock).items() if not hashes] == []


@pytest.mark.parametrize("lock", [*EXTRAS, "build"])
def test_images_run_what_is_tested(lock: str) -> None:
    """A package that is also in the development lock has the same version there."""
    tested = entries("dev")
    differing = {
        name: (version, tested[name][0])
        for name, (version, _) in entries(lock).items()
        if name in tested and tested[name][0] != version
    }
    assert differing == {}


def test_each_image_has_its_own_runtime_and_no_other() -> None:
    """None for the gateway; both wheels of the runtime own the same files, so never two of them."""
    found = {lock: {n for n in entries(lock) if n.startswith("onnxruntime")} for lock in EXTRAS}
    assert found == {
        "gateway": set(),
        "runtime-cpu": {"onnxruntime"},
        "runtime-gpu": {"onnxruntime-gpu"},
    }


def test_the_gpu_image_has_the_cuda_that_its_runtime_needs() -> None:
    """The base has the CUDA major version of the locked runtime; a new runtime makes somebody look again."""
    base = re.search(r"FROM nvidia/cuda:(\d+)\.", (ROOT / "deploy/docker/worker-gpu.Dockerfile").read_text())
    assert base is not None
    version = entries("runtime-gpu")["onnxruntime-gpu"][0]
    # its extras "cuda" and "cudnn" name what it is built for: nvidia-cudnn-cu13
    assert {"1.31": "13"}[version.rpartition(".")[0]] == base[1]


def test_the_gateway_needs_no_model_runtime() -> None:
    """Everything that the gateway's image runs can be imported where onnxruntime cannot."""
    program = """
import sys
sys.modules["onnxruntime"] = None
try:
    import onnxruntime
except ImportError:
    import accord.client, accord.commands.serve, gateway.app, gateway.supervise
else:
    sys.exit("the runtime can be imported: this proves nothing")
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=30)
