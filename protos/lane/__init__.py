"""The lane: length-prefixed frames over a unix socket, between the gateway and a worker on the same host."""

from protos.lane.connection import Connection
from protos.lane.frames import (
    HELLO,
    MAX_SEGMENTS,
    VERSION,
    Decoder,
    Frame,
    Kind,
    LaneFault,
    VersionFault,
    cancel,
    error,
    reply,
    request,
)

__all__ = [
    "HELLO",
    "MAX_SEGMENTS",
    "VERSION",
    "Connection",
    "Decoder",
    "Frame",
    "Kind",
    "LaneFault",
    "VersionFault",
    "cancel",
    "error",
    "reply",
    "request",
]
