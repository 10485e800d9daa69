"""A YAML file that knows where its parts stand, so that every complaint names file, line and path."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.scalarfloat import ScalarFloat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

__all__ = ["Complaint", "ConfigError", "Document", "hint", "read"]

_Path = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=BaseModel)


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

    def __init__(self, path: Path, tree: Any) -> None:
        self.path = path
        self.tree = tree
        self._overridden: dict[_Path, str] = {}

    def override(self, path: tuple[str, str], value: object, variable: str) -> None:
        """Put a value of an environment variable into a section; complaints about it name the variable."""
        self._overridden[path] = variable
        section = self.tree.setdefault(path[0], CommentedMap())
        if isinstance(section, dict):
            section[path[1]] = value

    def complain(self, path: _Path, problem: str) -> Complaint:
        """Return a complaint about the part at ``path``, or about its nearest parent that exists."""
        dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
        if path in self._overridden:
            return Complaint(f"environment variable {self._overridden[path]}", 0, dotted, problem)
        return Complaint(str(self.path), _line(self.tree, path), dotted, problem)

    def validated(self, model: type[_Model], context: Mapping[str, Any]) -> _Model:
        """Return the document as a value.

        Args:
            model: Its schema.
            context: What the schema's validators read.

        Raises:
            ConfigError: With every complaint.
        """
        try:
            tree = _plain(self.tree)
        except RecursionError:  # by its depth, or by an alias to a part around it
            raise _too_deep(self.path) from None
        try:
            return model.model_validate(tree, context=dict(context))
        except ValidationError as error:
            complaints = [self.complain(*_explain(e, model, self.tree)) for e in error.errors()]
            raise ConfigError(complaints) from None


def read(path: Path, *, keys: str, copy: Path | None = None) -> Document:
    """Read a file; a key given twice is refused.

    Args:
        path: The YAML file.
        keys: The keys that it must have, in words.
        copy: What to read in its place: a copy from when the file was read first.

    Raises:
        ConfigError: If it cannot be read, or is no mapping.
    """
    yaml = YAML(typ="rt")

    def refused(line: int, problem: str) -> ConfigError:
        return ConfigError([Complaint(str(path), line, "", problem)])

    try:
        tree = yaml.load((copy or path).read_text(encoding="utf-8"))
    except OSError as error:
        raise refused(0, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise refused(0, "is not UTF-8 text") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        key = str(error.problem).partition('"')[2].partition('"')[0]
        raise refused(line, f"the key {key!r} is given twice") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise refused(line, f"is not valid YAML: {error.problem}") from None
    except RecursionError:
        raise _too_deep(path) from None
    except Exception as error:  # noqa: BLE001 - over odd documents the parser itself trips
        raise refused(0, f"is not valid YAML: {error}") from None
    if not isinstance(tree, CommentedMap):
        raise refused(1, f"must be a mapping with the keys {keys}")
    return Document(path, tree)


def hint(word: str, known: Sequence[str], called: str = "known keys") -> str:
    """Return what may have been meant by an unknown word, else the known ones, as the end of a sentence."""
    close = difflib.get_close_matches(word, known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; {called}: {', '.join(known)}" if known else ""


def _too_deep(path: Path) -> ConfigError:
    return ConfigError([Complaint(str(path), 0, "", "is nested too deeply")])


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(value) for value in node]
    return float(node) if isinstance(node, ScalarFloat) else node


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


def _explain(error: ErrorDetails, model: type[BaseModel], tree: Any) -> tuple[_Path, str]:
    """Turn pydantic's account of an error into a path and a sentence for people."""
    # pydantic marks a bad mapping key by a last part "[key]"
    location = tuple(p for p in error["loc"] if p != "[key]")
    path = _written(location, tree)
    value, context = error["input"], error.get("ctx", {})

    def known(*more: str) -> list[str]:
        return _siblings((*location, *more), model)

    problems: dict[str, Callable[[], str]] = {
        "extra_forbidden": lambda: "unknown key" + hint(str(path[-1]), known()),
        "missing": lambda: "is missing",
        "string_pattern_mismatch": lambda: f"{str(value)!r} is not a valid name: use letters, digits, '-._'",
        "literal_error": lambda: f"must be {context['expected']}, not {value!r}",
        "too_short": lambda: f"needs at least {context['min_length']}",
        "model_type": lambda: f"must be a mapping of {', '.join(known(''))}, not {value!r}",
        "model_attributes_type": lambda: f"must be a mapping, not {value!r:.64}",
        "dict_type": lambda: f"must be a mapping, not {value!r:.64}",
        "tuple_type": lambda: f"must be a list, not {value!r:.64}",
        "value_error": lambda: str(context["error"]),
        "union_tag_not_found": lambda: f"needs {context['discriminator']}",
        "union_tag_invalid": lambda: (
            f"{context['discriminator']} must be one of {context['expected_tags']}, not {context['tag']!r}"
        ),
    }
    if error["type"] in problems:
        return path, problems[error["type"]]()
    message = error["msg"][0].lower() + error["msg"][1:]
    return path, f"{message}, not {value!r}" if _short(value) else message


def _short(value: object) -> bool:
    return isinstance(value, str | int | float | bool) and len(str(value)) < 64


def _written(location: _Path, tree: Any) -> _Path:
    """Return a location without what only pydantic knows: tags of unions, indices of what stands alone."""
    node, path = tree, []
    for i, part in enumerate(location):
        last = i == len(location) - 1
        tag = isinstance(node, CommentedMap) and part not in node and not last
        if tag or (isinstance(part, int) and isinstance(node, CommentedMap | str)):
            continue
        path.append(part)
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            node = None
    return tuple(path)


def _siblings(location: _Path, model: Any) -> list[str]:
    """Return the keys that could have stood at a location."""
    models = [model]
    for part in location[:-1]:
        having = [each for each in models if part in _keys(each)]
        tagged = [each for each in models if part in _tags(each)]
        if having:
            models = [inner for each in having for inner in _models(_keys(each)[part])]
        elif tagged:
            models = tagged
    return [str(key) for each in models[:1] for key in _keys(each)]


def _keys(model: Any) -> dict[object, Any]:
    """Return what a section may hold, by the keys that are written."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _tags(model: Any) -> tuple[object, ...]:
    return getattr(_keys(model).get("kind"), "__args__", ())


def _models(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)
