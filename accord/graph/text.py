"""A plan as a tree of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.tree import Tree

from accord.graph.shown import REQUEST

if TYPE_CHECKING:
    from accord.graph.shown import Port, Read, Shown, ShownCall, ShownMerge

__all__ = ["tree"]


def tree(shown: Shown) -> Tree:
    """Return a plan as a tree for the terminal."""
    rows = f"up to {shown.max_rows} rows a call" if shown.max_rows else "does not batch"
    shares = "requests share batches" if shown.shares else "each request by itself"
    root = Tree(f"[bold]{escape(shown.name)}[/] version {escape(shown.version)}: {rows}, {shares}")
    nested = len(shown.merges) > 1
    request = root.add("request")
    for tensor in shown.inputs:
        request.add(escape(str(tensor)) + (" [dim]optional[/]" if tensor.optional else ""))
    calls = root.add("calls")
    names = {call.id: f"{call.id.removeprefix('call ')} {call.model}" for call in shown.calls}
    names |= {merge.id: f"{merge.id if nested else 'merge'} {merge.ensemble}" for merge in shown.merges}
    for call in shown.calls:
        node = calls.add(_call(call, names[call.id]))
        for read in call.reads:
            node.add(escape(_read(read, names)) + (" [dim]optional[/]" if read.optional else ""))
    merges = root.add("merges" if nested else "merge")
    for merge in shown.merges:
        node = merges.add(f"[bold]{escape(names[merge.id].removeprefix('merge '))}[/]: {merge.strategy}")
        for line in _seats(merge, names):
            node.add(line)
    answer = root.add("answer")
    for tensor in shown.outputs:
        answer.add(escape(str(tensor)))
    return root


def _call(call: ShownCall, name: str) -> str:
    seats = ", ".join(call.seats)
    parts = [f"seat{'s' * (len(call.seats) > 1)} {seats}"] if seats not in ("", call.model) else []
    parts.append("requests share it" if call.shares else "one for each request")
    if call.timeout_s is not None:
        parts.append(f"at most {call.timeout_s:g} s")
    return f"[bold]{escape(name)}[/]: {escape('; '.join(parts))}"


def _read(read: Read, names: dict[str, str]) -> str:
    made = " | ".join(_port(port, names) for port in read.ports)
    return f"{read.input} = {made}"


def _port(port: Port, names: dict[str, str]) -> str:
    return port.output if port.source == REQUEST else f"{names[port.source]}.{port.output}"


def _seats(merge: ShownMerge, names: dict[str, str]) -> list[str]:
    lines = []
    for seat in merge.seats:
        required = " (required)" if seat.required else ""
        if not seat.asks:
            lines.append(f"{escape(seat.name)}{required}: [yellow]{escape(seat.problem)}[/]")
            continue
        made = ", ".join(f"{name} = {names[seat.asks]}.{own}" for name, own in seat.outputs)
        lines.append(escape(f"{seat.name}{required}: {made}"))
    return lines
