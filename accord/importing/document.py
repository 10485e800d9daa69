"""An imported configuration as YAML for people: what was not carried over stands beside its place."""

from __future__ import annotations

import textwrap
from io import StringIO
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accord.importing.values import Imported, Note

__all__ = ["write"]

_WIDTH = 110


def write(imported: Imported, source: str) -> str:
    """Return the text of a configuration file.

    Args:
        imported: What it is to say.
        source: Where it was imported from.
    """
    root = CommentedMap()
    for title, section in (("models", imported.models), ("ensembles", imported.ensembles)):
        if section:
            root[title] = _node(section)
            for name in section:
                if notes := [note for note in imported.notes if note.model == name]:
                    root[title].yaml_set_comment_before_after_key(name, before=_told(notes, 2), indent=2)
    head = f"Imported from the Triton repository {source}."
    if left_out := [note for note in imported.notes if note.left_out]:
        head += "\nLeft out:\n" + _told(left_out, 0, named=True)
    root.yaml_set_start_comment(head)
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(root, stream)
    return stream.getvalue()


def _told(notes: Sequence[Note], indent: int, *, named: bool = False) -> str:
    lines = []
    for note in notes:
        about = (note.model if named else "", note.field, note.meaning)
        text = f"- {': '.join(filter(None, about))}. To do: {note.remedy}."
        # YAML has no way to say control characters in a comment
        clean = "".join(letter if letter.isprintable() else "?" for letter in text)
        lines += textwrap.wrap(clean, _WIDTH - 2 - indent, subsequent_indent="  ", break_long_words=False)
    return "\n".join(lines)


def _node(value: Any) -> Any:
    """Return what is written in one line where nothing is nested in it, else part by part."""
    if isinstance(value, dict):
        node: Any = CommentedMap((key, _node(inner)) for key, inner in value.items())
        nested = any(isinstance(inner, dict) for inner in value.values()) or "members" in value
    elif isinstance(value, list):
        node = CommentedSeq(_node(inner) for inner in value)
        nested = any(isinstance(inner, dict | list) for inner in value)
    else:
        return value
    (node.fa.set_block_style if nested else node.fa.set_flow_style)()
    return node
