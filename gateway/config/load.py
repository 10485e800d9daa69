"""Reads a configuration file: every complaint names file, line and path.

Order: YAML with line numbers (duplicate keys refused) -> environment overrides -> strict schema ->
references between sections. All complaints of a stage are reported together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError

from gateway.config.references import dangling, hint
from gateway.config.schema import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

__all__ = ["ENVIRONMENT_PREFIX", "Complaint", "ConfigError", "load"]

#: ``ACCORD_SERVER__METRICS=...`` overrides ``server.metrics``.
ENVIRONMENT_PREFIX = "ACCORD_SERVER__"

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing wrong with a configuration.

    Args:
        source: The file, or the environment variable.
        line: Line in the file, from 1; 0 where there is none.
        path: Where in the document, e.g. ``ensembles.digits.quorum``.
        problem: What is wrong and how to mend it.
    """

    source: str
    line: int
    path: str
    problem: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.path}: {self.problem}" if self.path else f"{place}: {self.problem}"


class ConfigError(Exception):
    """A configuration that cannot be used."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        super().__init__("\n".join(map(str, complaints)))
        self.complaints = tuple(complaints)


class Document:
    """A parsed file that knows where its parts stand."""

    def __init__(self, path: Path, tree: Any, overridden: Mapping[_Path, str]) -> None:
        self.path = path
        self.tree = tree
        self._overridden = overridden

    def complain(self, path: _Path, problem: str) -> Complaint:
        """Return a complaint about the part at ``path``, or about its nearest parent that exists."""
        dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        if path in self._overridden:
            return Complaint(f"environment variable {self._overridden[path]}", 0, dotted, problem)
        return Complaint(str(self.path), _line(self.tree, path), dotted, problem)


def load(
    path: Path, environment: Mapping[str, str] | None = None, *, copy: Path | None = None
) -> tuple[Config, Document]:
    """Read, override and validate a configuration file.

    Args:
        path: The YAML file.
        environment: Variables that may override ``server`` keys.
        copy: What to read in its place: a copy from when the file was read first.

    Returns:
        The configuration, with paths resolved against the file's folder, and its document.

    Raises:
        ConfigError: With every complaint of the first stage that fails.
    """
    try:
        document = _parse(path, copy or path, environment or {})
        tree = _plain(document.tree)
    except RecursionError:  # by its depth, or by an alias to a part around it
        raise ConfigError([Complaint(str(path), 0, "", "is nested too deeply")]) from None
    try:
        config = Config.model_validate(tree, context={"base": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError([document.complain(*_explain(e)) for e in error.errors()]) from None
    complaints = [document.complain(*c) for c in dangling(config)]
    if complaints:
        raise ConfigError(complaints)
    return config, document


def _parse(path: Path, source: Path, environment: Mapping[str, str]) -> Document:
    yaml = YAML(typ="rt")
    try:
        tree = yaml.load(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([Complaint(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Complaint(str(path), 0, "", "is not UTF-8 text")]) from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        key = str(error.problem).partition('"')[2].partition('"')[0]
        raise ConfigError([Complaint(str(path), line, "", f"the key {key!r} is given twice")]) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError([Complaint(str(path), line, "", f"is not valid YAML: {error.problem}")]) from None
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 - over odd documents the parser itself trips
        raise ConfigError([Complaint(str(path), 0, "", f"is not valid YAML: {error}")]) from None
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            [Complaint(str(path), 1, "", "must be a mapping with the keys models and ensembles")]
        )
    return Document(path, tree, _override(tree, environment))


def _override(tree: CommentedMap, environment: Mapping[str, str]) -> dict[_Path, str]:
    overridden: dict[_Path, str] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        key = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        overridden["server", key] = variable
        section = tree.setdefault("server", CommentedMap())
        if isinstance(section, dict):
            try:
                section[key] = YAML(typ="safe").load(text)
            except Exception:  # noqa: BLE001 - what is no YAML is text
                section[key] = text
    return overridden


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return node


def _line(tree: Any, path: _Path) -> int:
    node, line = tree, 1
    for part in path:
        try:
            if isinstance(node, CommentedMap):
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq):
                line = node.lc.item(part)[0] + 1
            node = node[part]
        except (KeyError, IndexError, TypeError):
            break
    return line


def _explain(error: ErrorDetails) -> tuple[_Path, str]:
    """Turn pydantic's account of an error into a path and a sentence for people."""
    # pydantic marks a bad mapping key by a last part "[key]"
    path = tuple(p for p in error["loc"] if p != "[key]")
    value, context = error["input"], error.get("ctx", {})
    problems: dict[str, Callable[[], str]] = {
        "extra_forbidden": lambda: "unknown key" + hint(str(path[-1]), _siblings(path)),
        "missing": lambda: "is missing",
        "string_pattern_mismatch": lambda: f"{str(value)!r} is not a valid name: use letters, digits, '-._'",
        "literal_error": lambda: f"must be {context['expected']}, not {value!r}",
        "too_short": lambda: f"needs at least {context['min_length']}",
        "model_type": lambda: f"must be a mapping of {', '.join(_siblings((*path, '')))}, not {value!r}",
        "value_error": lambda: str(context["error"]),
    }
    if error["type"] in problems:
        return path, problems[error["type"]]()
    message = error["msg"][0].lower() + error["msg"][1:]
    return path, f"{message}, not {value!r}" if _short(value) else message


def _short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) < 64


def _siblings(path: _Path) -> list[str]:
    """Return the keys that could have stood at ``path``."""
    model: Any = Config
    for part in path[:-1]:
        fields = getattr(model, "model_fields", None)
        if fields is not None and part in fields:
            model = next(_models(fields[part].annotation), None)
    return list(getattr(model, "model_fields", {}))


def _models(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)
