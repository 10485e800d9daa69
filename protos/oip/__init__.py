"""The Open Inference Protocol: its messages, to and from values, and what both sides of it share."""

from protos.oip.checks import check_inputs, check_wanted
from protos.oip.describe import model_metadata, read_metadata
from protos.oip.parameters import Parameter, read_parameters, timeout_s, write_parameters
from protos.oip.tensors import MAX_WALK, check_walk, read_inputs, read_outputs, write_inputs, write_outputs
from protos.oip.wire import METHODS, SERVICE, messages, model_config

__all__ = [
    "MAX_WALK",
    "METHODS",
    "SERVICE",
    "Parameter",
    "check_inputs",
    "check_walk",
    "check_wanted",
    "messages",
    "model_config",
    "model_metadata",
    "read_inputs",
    "read_metadata",
    "read_outputs",
    "read_parameters",
    "timeout_s",
    "write_inputs",
    "write_outputs",
    "write_parameters",
]
