"""All cases, by subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.interop.conformance.cases import (
    classification,
    control,
    parameters,
    requests,
    server,
    streams,
    tensors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.interop.conformance.case import Case

__all__ = ["CASES"]

#: The cases of each subject.
CASES: Mapping[str, tuple[Case, ...]] = {
    "Tensors": tensors.CASES,
    "Requests": requests.CASES,
    "Parameters": parameters.CASES,
    "Classification": classification.CASES,
    "Streams": streams.CASES,
    "Server and models": server.CASES,
    "Control": control.CASES,
}
