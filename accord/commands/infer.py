"""``accord infer``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from accord.commands.calls import fail_call
from accord.commands.output import fail, out, print_json
from accord.v1 import ensemble_pb2 as pb
from accord.v1 import errors_pb2
from protos.tensor import DTYPES

if TYPE_CHECKING:
    from accord.client import Answer

__all__ = ["command"]


def command(
    ensemble: Annotated[str, typer.Argument(help="The ensemble or model to ask.")],
    *,
    given: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            help="name=VALUE, once per input; VALUE is JSON, @FILE.json, @FILE.npy, or plain text for BYTES.",
        ),
    ],
    address: Annotated[
        str, typer.Option(envvar="ACCORD_ADDRESS", help="The gateway's gRPC address.")
    ] = "127.0.0.1:8001",
    member: Annotated[list[str] | None, typer.Option(help="Ask only these members; repeat it.")] = None,
    quorum: Annotated[int | None, typer.Option(min=1, help="Need only so many usable members.")] = None,
    output: Annotated[list[str] | None, typer.Option(help="Return only these outputs; repeat it.")] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, help="Deadline in seconds.")] = 10.0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Also show what there is as members arrive.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --stream, one object per line.")
    ] = False,
) -> None:
    """Ask a running gateway once and show the answer and what each member did."""
    from accord.client import CallError, Client  # noqa: PLC0415 - gRPC is not needed to list commands

    try:
        with Client(address, timeout_s=timeout_s) as client:
            described = client.describe(ensemble)
            specs = {spec.name: spec for spec in described.inputs}
            inputs = dict(_read(item, specs) for item in given)
            asked: dict[str, Any] = {"members": member or [], "outputs": output or []}
            if quorum is not None:
                asked["quorum"] = pb.Quorum(count=quorum)
            answers = (
                client.infer_stream(ensemble, inputs, **asked)
                if stream
                else [client.infer(ensemble, inputs, **asked)]
            )
            for answer in answers:
                _print(answer, as_json=as_json, stream=stream)
    except CallError as error:
        fail_call(error, as_json=as_json, indent=None if stream else 2)


def _print(answer: Answer, *, as_json: bool, stream: bool) -> None:
    if as_json and stream:
        progress = {"final": answer.final, "quorum_met": answer.quorum_met}
        print_json({"ok": True, **progress, **_plain(answer)}, indent=None)
    elif as_json:
        print_json({"ok": True, **_plain(answer)})
    else:
        if stream:
            quorum = "" if answer.quorum_met else ", quorum not met yet"
            out.rule("final" if answer.final else f"{answer.report.members_used} members in{quorum}")
        _show(answer)


def _read(item: str, specs: dict[str, pb.TensorDescription]) -> tuple[str, Any]:
    name, equals, text = item.partition("=")
    if not equals:
        fail(f"--input {item[:40]!r} must be name=VALUE", code=2)
    if name not in specs:
        fail(f"there is no input {name!r}; the model takes {', '.join(specs)}", code=2)
    datatype = specs[name].datatype
    try:
        value = _value(text, datatype)
    except (OSError, ValueError) as error:
        fail(f"--input {name}: {error}", code=2)
    if datatype == "BYTES":
        array = np.array(value, object)
        # a single text is one row of one element, or whatever rank the model takes
        return name, array.reshape((1,) * len(specs[name].shape)) if array.ndim == 0 else array
    try:
        array = np.asarray(value).astype(DTYPES[datatype])
    except (TypeError, ValueError):
        fail(f"--input {name}: the value is not an array of {datatype}", code=2)
    # one row given where the model takes several
    return name, array[None] if array.ndim == len(specs[name].shape) - 1 else array


def _value(text: str, datatype: str) -> Any:
    if text.startswith("@"):
        path = Path(text[1:])
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        text = path.read_text("utf-8")
        return json.loads(text) if path.suffix == ".json" else text
    if datatype == "BYTES" and not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("is neither JSON nor @FILE") from None


def _plain(answer: Answer) -> dict[str, Any]:
    return {
        "version": answer.version,
        "degraded": answer.report.degraded,
        "outputs": {name: _listed(array) for name, array in answer.outputs.items()},
        "agreement": list(answer.report.agreement),
        "members": [
            {
                "seat": m.seat,
                "model": m.model,
                "outcome": errors_pb2.Outcome.Name(m.outcome).removeprefix("OUTCOME_"),
                "cause": errors_pb2.Cause.Name(m.cause).removeprefix("CAUSE_") if m.cause else "",
                "weight_used": m.weight_used,
            }
            for m in answer.report.members
        ],
    }


def _listed(array: Any) -> Any:
    if array.dtype == object:
        return np.vectorize(lambda b: b.decode(errors="replace"), otypes=[object])(array).tolist()
    return array.tolist()


def _show(answer: Answer) -> None:
    outputs = Table("output", "shape", "value")
    for name, array in answer.outputs.items():
        text = json.dumps(_listed(array.astype(float).round(4) if array.dtype.kind == "f" else array))
        outputs.add_row(name, str(list(array.shape)), text if len(text) < 400 else text[:397] + "...")
    out.print(outputs)
    members = Table("member", "model", "outcome", "weight", "ms")
    for m in answer.report.members:
        outcome = errors_pb2.Outcome.Name(m.outcome).removeprefix("OUTCOME_")
        elapsed_s = m.queue_s + m.compute_s + m.wire_s
        members.add_row(
            m.seat,
            m.model,
            f"{outcome}: {m.message}" if m.message else outcome,
            f"{m.weight_used:.2f}",
            f"{elapsed_s * 1e3:.1f}",
        )
    out.print(members)
    if answer.report.agreement:
        out.print(f"agreement: {', '.join(f'{share:.2f}' for share in answer.report.agreement[:8])}")
    if answer.report.degraded:
        out.print("[yellow]degraded: a member is missing from this answer[/]")
