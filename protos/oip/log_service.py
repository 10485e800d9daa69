"""What a process of ours logs: read by everyone, changed by who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos import logs
from protos.oip.settings import LogSettings, level_of, log_settings

if TYPE_CHECKING:
    from protos.service import CallContext, Serve

__all__ = ["LogService"]


class LogService:
    """Serves ``LogSettings``, with one state for all listeners.

    Args:
        log_format: The form of the log's lines, to be told.
    """

    def __init__(self, *, log_format: str) -> None:
        self._settings = LogSettings(log_format=log_format)

    def method(self, *, may_update: bool) -> Serve:
        """Return the method for callers who may, or may not, change what is logged."""

        async def serve(request: Any, _context: CallContext, /) -> Any:
            self._settings, response = log_settings(request, self._settings, may_update=may_update)
            if request.settings:
                logs.set_level(level_of(self._settings))
            return response

        return serve
