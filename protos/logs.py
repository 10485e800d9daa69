"""Structured logs of any of our processes: one line per event on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

__all__ = ["LogFormat", "configure", "set_level"]

LogFormat = Literal["json", "text"]

#: Fields that we write ourselves, on several lines where that helps.
_OURS = ("event", "exception")


def configure(log_format: LogFormat) -> None:
    """Send all records of the standard library's loggers to standard error.

    Args:
        log_format: ``json`` for one object per line, ``text`` for people.
    """
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if log_format == "json"
        else [_escape_facts, structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=False)]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _escape_facts(
    _logger: structlog.typing.WrappedLogger, _method: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Quote control characters, which would steer a terminal, in what callers wrote; JSON does so itself."""
    for key, value in entry.items():
        if key not in _OURS and isinstance(value, str) and not value.isprintable():
            entry[key] = repr(value)
    return entry


def set_level(level: int) -> None:
    """Log records of this level and above, from now on and in this process only."""
    logging.getLogger().setLevel(level)
