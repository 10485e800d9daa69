"""The Open Inference Protocol: its messages, to and from values, and what both sides of it share."""

from protos.oip.checks import check_inputs, check_wanted
from protos.oip.classification import classify, classify_all
from protos.oip.describe import (
    config_datatype,
    describe_tensor,
    model_config_of,
    model_metadata,
    optional_inputs,
    read_metadata,
)
from protos.oip.log_service import LogService
from protos.oip.parameters import (
    GATHERED,
    RESERVED,
    Parameter,
    custom,
    gathered,
    priority,
    read_parameters,
    refuse_sequences,
    timeout_s,
    typed_contents,
    write_parameters,
)
from protos.oip.repository import Entry, State, check_load, index_response, unloads_dependents
from protos.oip.requested import read_requested
from protos.oip.scan import raws_apart
from protos.oip.settings import LogSettings, level_of, log_settings, trace_settings
from protos.oip.statistics import Statistics, statistics_response, sum_statistics
from protos.oip.stream import stream_infer
from protos.oip.tensors import (
    MAX_ANSWER_BYTES,
    MAX_TENSORS,
    MAX_WALK,
    check_answer,
    check_number,
    check_walk,
    raw_inputs,
    read_inputs,
    read_outputs,
    write_inputs,
    write_outputs,
)
from protos.oip.wire import (
    EXTENSIONS,
    METHODS,
    REPOSITORY_EXTENSIONS,
    SERVICE,
    messages,
    model_config,
    unoffered,
)

__all__ = [
    "EXTENSIONS",
    "GATHERED",
    "MAX_ANSWER_BYTES",
    "MAX_TENSORS",
    "MAX_WALK",
    "METHODS",
    "REPOSITORY_EXTENSIONS",
    "RESERVED",
    "SERVICE",
    "Entry",
    "LogService",
    "LogSettings",
    "Parameter",
    "State",
    "Statistics",
    "check_answer",
    "check_inputs",
    "check_load",
    "check_number",
    "check_walk",
    "check_wanted",
    "classify",
    "classify_all",
    "config_datatype",
    "custom",
    "describe_tensor",
    "gathered",
    "index_response",
    "level_of",
    "log_settings",
    "messages",
    "model_config",
    "model_config_of",
    "model_metadata",
    "optional_inputs",
    "priority",
    "raw_inputs",
    "raws_apart",
    "read_inputs",
    "read_metadata",
    "read_outputs",
    "read_parameters",
    "read_requested",
    "refuse_sequences",
    "statistics_response",
    "stream_infer",
    "sum_statistics",
    "timeout_s",
    "trace_settings",
    "typed_contents",
    "unloads_dependents",
    "unoffered",
    "write_inputs",
    "write_outputs",
    "write_parameters",
]
