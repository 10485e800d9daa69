"""Reads a configuration file: every complaint names file, line and path.

Order: YAML with line numbers (duplicate keys refused) -> environment overrides -> strict schema ->
references between sections. All complaints of a stage are reported together.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from gateway.config.references import dangling
from gateway.config.schema import Config
from protos.document import ConfigError, Document, read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ENVIRONMENT_PREFIX", "load"]

#: ``ACCORD_SERVER__METRICS=...`` overrides ``server.metrics``.
ENVIRONMENT_PREFIX = "ACCORD_SERVER__"


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
    document = read(path, keys="models and ensembles", copy=copy)
    _override(document, environment or {})
    config = document.validated(Config, {"base": path.resolve().parent})
    complaints = [document.complain(*c) for c in dangling(config)]
    if complaints:
        raise ConfigError(complaints)
    return config, document


def _override(document: Document, environment: Mapping[str, str]) -> None:
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        value: object = text
        with contextlib.suppress(Exception):  # what is no YAML is text
            value = YAML(typ="safe").load(text)
        document.override(("server", variable.removeprefix(ENVIRONMENT_PREFIX).lower()), value, variable)
