"""How a worker hosts a model of a repository: what it loads, how it warms it up, where its requests wait."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from workers.batcher import Batcher
from workers.lifecycle import Lifecycle
from workers.model.ready import make_ready
from workers.model.repository import find_all
from workers.model.runtime.providers import AUTO
from workers.model.scheduling import read_scheduling
from workers.model.session import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from protos.oip import Statistics
    from workers.model.repository import ModelFiles
    from workers.model.runtime.instances import Placement
    from workers.model.session import Session

__all__ = ["host"]


def host(
    repository: Path,
    name: str,
    version: str = "",
    *,
    wanted: Sequence[str] = AUTO,
    threads: str = "auto",
    placement: Placement | None = None,
    require_digests: bool = False,
    max_queued: int = 128,
) -> Lifecycle:
    """Return the versions of a model, none of them loaded yet.

    Args:
        repository: The model repository.
        name: The model's name.
        version: The one version to serve; empty for those that its config allows.
        wanted: Execution providers in order of preference.
        threads: See :func:`workers.model.runtime.threads.intra_op_threads`.
        placement: The device; None for the first that the model's config asks for.
        require_digests: Refuse versions without digests.
        max_queued: The most requests that may wait for a version.
    """

    def load_and_warm(files: ModelFiles) -> Session:
        session = load(
            files, wanted=wanted, threads=threads, placement=placement, require_digests=require_digests
        )
        make_ready(session)
        return session

    def batch(session: Session, statistics: Statistics) -> Batcher:
        return Batcher(
            lambda inputs, outputs, abort: session.run(inputs, outputs, abort=abort),
            scheduling=read_scheduling(session.files.config_path, session.config),
            max_rows=session.spec.max_rows,
            max_queued=max_queued,
            pace=session.pace,
            on_execution=lambda run: statistics.executed(
                run.rows, input_s=run.input_s, infer_s=run.infer_s, output_s=run.output_s
            ),
        )

    return Lifecycle(name, find=partial(find_all, repository, name, version), load=load_and_warm, batch=batch)
