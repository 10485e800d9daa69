"""The page that tells where Accord's answers differ from Triton's, from the conformance suite's table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.interop.conformance.case import SEEN_AS_WORKER, TRITON, Ends, Refused
from tests.interop.conformance.cases.table import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conformance.case import Case

__all__ = ["page"]

_PAGE = """# Conformance

Generated from the table of cases in `tests/interop/conformance` by `make docs`.

The suite sends each of {cases} cases to a worker, to a gateway (a model under its own name, and an ensemble
of it) and to a real Triton 2.51 that serves the same ONNX files: with tritonclient's sync and aio clients
as they are, and with bare gRPC where tritonclient refuses to send it. Both outcomes are asserted, Triton's
too, so that a change on either side is noticed. `make test-all` runs it.

| subject | cases | the same as Triton | other than Triton | not comparable |
|---|---|---|---|---|
{counts}

Not comparable are cases of what Triton does not have: they are asserted of Accord alone. Where a status is
the same, the error is: Accord adds its reason and the field at fault.

## The differences

{differences}

Triton runs the models with its Python backend and the ONNX runtime here, because the package that carries
it has no ONNX backend; where that shows, the reason says so. Metadata and tensors of the same models are
the same, bit for bit. `test_interchange.py` lists the only fields of a `ModelConfig` that differ, and shows
that one line of a gateway's configuration moves a member from a worker to Triton without changing a bit of
the ensemble's answers.
"""
_LONGEST = 100


def page() -> str:
    """Return the page's text."""
    return _PAGE.format(
        cases=sum(map(len, CASES.values())),
        counts="\n".join(_count(subject, cases) for subject, cases in CASES.items()),
        differences="\n".join(_sections()).strip(),
    )


def _count(subject: str, cases: tuple[Case, ...]) -> str:
    asked = [case for case in cases if TRITON in case.on]
    other = sum(case.deviates for case in asked)
    return f"| {subject} | {len(cases)} | {len(asked) - other} | {other} | {len(cases) - len(asked)} |"


def _sections() -> Iterator[str]:
    for subject, cases in CASES.items():
        rows = [_row(case) for case in cases if case.deviates]
        if rows:
            yield from (
                f"### {subject}",
                "",
                "| case | Triton 2.51 | Accord | why |",
                "|---|---|---|---|",
                *rows,
                "",
            )


def _row(case: Case) -> str:
    ours = _text(case.see)
    for server, own in (("gateway", case.gateway), ("ensemble", case.ensemble)):
        if own is not SEEN_AS_WORKER:
            ours += f"; {server}: {_text(own)}"
    cells = (case.name, _text(case.expected(TRITON)), ours, case.why)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _text(outcome: Any) -> str:
    """Return an outcome in a few words."""
    match outcome:
        case Refused(code=code, reason=reason):
            return f"{code or 'error in the stream'}{f' (`{reason}`)' if reason else ''}"
        case Ends():
            return "the server ends"
        case None:
            return "done"
        case list() if any(isinstance(one, Refused) for one in outcome):
            return ", ".join(map(_text, outcome))
    text = re.sub(r"\s+", " ", repr(outcome))
    return f"`{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}`"
