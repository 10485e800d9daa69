"""What the gateway logs: read by everyone, changed by who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos import logs, oip

if TYPE_CHECKING:
    from protos.service import CallContext, Serve

__all__ = ["LogService"]


class LogService:
    """Serves ``LogSettings``, with one state for all listeners.

    Args:
        log_format: The form of the log's lines, to be told.
    """

    def __init__(self, *, log_format: str) -> None:
        self._settings = oip.LogSettings(log_format=log_format)

    def method(self, *, may_update: bool) -> Serve:
        """Return the method for callers who may, or may not, change what is logged."""

        async def log_settings(request: Any, _context: CallContext, /) -> Any:
            self._settings, response = oip.log_settings(request, self._settings, may_update=may_update)
            if request.settings:
                logs.set_level(oip.level_of(self._settings))
            return response

        return log_settings
