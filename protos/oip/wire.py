"""The one copy of the Open Inference Protocol's generated modules in the process: tritonclient's.

Only this module imports them, so that any client or server library of the protocol can live beside us.
Sources: KServe "Open Inference Protocol" v2 gRPC; Triton ``grpc_service.proto`` and ``model_config.proto``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritonclient.grpc import model_config_pb2 as model_config
from tritonclient.grpc import service_pb2 as messages

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "EXTENSIONS",
    "METHODS",
    "REPOSITORY_EXTENSIONS",
    "SERVICE",
    "SHARED_MEMORY_REFUSED",
    "messages",
    "model_config",
    "unoffered",
]

SERVICE = "inference.GRPCInferenceService"

#: Names of all methods of the service, those we do not offer included.
METHODS = frozenset(
    method.name for method in messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
)

#: Of Triton's extensions, those that every server of ours offers; only what works is advertised.
#: Source: Triton "Protocol extensions".
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)
#: Those that come with the calls that load and unload models.
REPOSITORY_EXTENSIONS = ("model_repository", "model_repository(unload_dependents)")

#: Why we never map a client's memory, and what to do instead.
SHARED_MEMORY_REFUSED = (
    "clients' shared memory is not mapped: it would have to be on this host, and what a client writes there "
    "while it is read cannot be checked; send tensors in the message"
)


def unoffered(offered: Collection[str]) -> dict[str, str]:
    """Return every method of the service that a server does not offer, and what its callers are told.

    Example:
        >>> unoffered(METHODS - {"LogSettings"})
        {'LogSettings': 'LogSettings is not offered by this server'}
    """
    return {
        name: SHARED_MEMORY_REFUSED if "SharedMemory" in name else f"{name} is not offered by this server"
        for name in sorted(METHODS.difference(offered))
    }
