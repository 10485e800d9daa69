"""What a process of ours logs: read by everyone, changed by who may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos import logs
from protos.oip.settings import LogSettings, level_of, log_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from protos.service import CallContext, Serve

__all__ = ["LogService"]


class LogService:
    """Serves ``LogSettings``, with one state for all listeners.

    Args:
        log_format: The form of the log's lines, to be told.
        on_change: Awaited before a change is confirmed.
    """

    def __init__(self, *, log_format: str, on_change: Callable[[], Awaitable[None]] | None = None) -> None:
        self.settings = LogSettings(log_format=log_format)
        self._on_change = on_change

    def adopt(self, settings: LogSettings) -> None:
        """Log as these settings say."""
        self.settings = settings
        logs.set_level(level_of(settings))

    def method(self, *, may_update: bool) -> Serve:
        """Return the method for callers who may, or may not, change what is logged."""

        async def serve(request: Any, _context: CallContext, /) -> Any:
            settings, response = log_settings(request, self.settings, may_update=may_update)
            if request.settings:
                self.adopt(settings)
                if self._on_change is not None:
                    await self._on_change()
            return response

        return serve
