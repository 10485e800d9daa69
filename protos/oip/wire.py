"""The one copy of the Open Inference Protocol's generated modules in the process: tritonclient's.

Only this module imports them, so that any client or server library of the protocol can live beside us.
Sources: KServe "Open Inference Protocol" v2 gRPC; Triton ``grpc_service.proto`` and ``model_config.proto``.
"""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2 as model_config
from tritonclient.grpc import service_pb2 as messages

__all__ = ["METHODS", "SERVICE", "messages", "model_config"]

SERVICE = "inference.GRPCInferenceService"

#: Names of all methods of the service, those we do not offer included.
METHODS = frozenset(
    method.name for method in messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
)
