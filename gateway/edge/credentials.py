"""Who may call the admin listener where it is not a unix socket: whoever knows the token.

Source: RFC 6750, section 2.1 (the ``Authorization: Bearer`` header).
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING

from protos.errors import AccordError, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from protos.service import CallContext

__all__ = ["BearerToken"]

_log = logging.getLogger(__name__)


class BearerToken:
    """A guard that lets pass who sends the token of a file.

    Args:
        path: The file. It is read for every call, so that a new token holds at once; admin calls are rare.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, context: CallContext) -> None:
        """Check a call.

        Raises:
            AccordError: AUTH_MISSING or AUTH_INVALID.
        """
        given = (context.metadata or {}).get("authorization", "")
        if not isinstance(given, str) or not given:
            raise AccordError(
                Reason.AUTH_MISSING, "credentials are required; send the metadata authorization: Bearer TOKEN"
            )
        scheme, _, token = given.partition(" ")
        wanted = self._wanted()
        # an empty file must not let an empty token in
        if scheme.lower() != "bearer" or not wanted or not hmac.compare_digest(token.encode(), wanted):
            raise AccordError(Reason.AUTH_INVALID, "the credentials are wrong")

    def _wanted(self) -> bytes:
        try:
            return self._path.read_bytes().strip()
        except OSError as error:  # gone, or being replaced: nobody knows the token then
            _log.error("the admin token cannot be read: %s", error)
            return b""
