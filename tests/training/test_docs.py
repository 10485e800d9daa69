"""What the page about training shows works as it stands."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from accord.client import Client
from examples.demo.server import serve

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
TOPICS = ("delivery", "payment", "account")
WORDS = {"delivery": "parcel late", "payment": "card refused", "account": "password lost"}


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


def fence(text: str, language: str, begin: str = "") -> str:
    """Return its first fence of a language that begins like this."""
    found = re.search(rf"^```{language}\n({begin}.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def tickets(file: Path) -> None:
    """Write tickets of 80 customers; some cells are empty."""
    random = np.random.default_rng(0)
    with file.open("w", newline="", encoding="utf-8") as opened:
        rows = csv.writer(opened)
        rows.writerow(["message", "customer", "urgent", "topics", "mood"])
        for i in range(400):
            topics = [topic for topic in TOPICS if random.random() < 0.4]
            urgent, mood = random.choice(["yes", "no"]), round(float(random.normal()), 2)
            said = [WORDS[topic] for topic in topics]
            said += ["now please"] * (urgent == "yes") + ["thanks"] * (mood > 0) + [f"number {i}"]
            labels = [urgent, "|".join(topics) or "|", mood]
            rows.writerow(
                [" ".join(said), i % 80, *("" if random.random() < 0.1 else each for each in labels)]
            )


def test_own_rows_become_a_repository_by_the_commands_of_the_page(tmp_path: Path) -> None:
    text = section("Your own rows")
    tickets(tmp_path / "tickets.csv")
    (tmp_path / "tickets.yaml").write_text(fence(text, "yaml"))
    commands = [shlex.split(line) for line in fence(text, "text", "accord train").splitlines()]
    assert [command[:2] for command in commands] == [
        ["accord", word] for word in ("train", "compress", "evaluate", "export")
    ]
    for command in commands:
        accord = [sys.executable, "-c", "from accord.cli import main; main()"]
        done = subprocess.run(
            [*accord, *command[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "models" / "tickets" / "1" / "model.onnx").exists()
    assert (tmp_path / "runs" / "tickets" / "evaluation" / "report.html").exists()
    card = json.loads((tmp_path / "models" / "tickets-int8" / "1" / "card.json").read_text("utf-8"))
    assert card["tasks"]["urgent"]["metrics"]["test"]["accuracy"] > 0.9
    (tmp_path / "serve.yaml").write_text(fence(section("Serve it"), "yaml"))
    with serve(tmp_path / "serve.yaml", tmp_path) as server, Client(server.address) as client:
        asked = np.array([[b"card refused now please number 7"], [b"parcel late number 8"]], object)
        answers = client.infer("tickets-int8", {"text": asked}).outputs
        assert answers["urgent.label"].tolist() == [[b"yes"], [b"no"]]
        assert client.infer("urgent", {"text": asked}).outputs["urgent.probabilities"].shape == (2, 2)
