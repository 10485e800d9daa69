from accord.v1 import errors_pb2 as _errors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Tensor(_message.Message):
    __slots__ = ("name", "datatype", "shape", "raw")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    raw: bytes
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., raw: _Optional[bytes] = ...) -> None: ...

class Quorum(_message.Message):
    __slots__ = ("count", "weight")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    count: int
    weight: float
    def __init__(self, count: _Optional[int] = ..., weight: _Optional[float] = ...) -> None: ...

class StrategyOverride(_message.Message):
    __slots__ = ("kind", "options_json")
    KIND_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    options_json: str
    def __init__(self, kind: _Optional[str] = ..., options_json: _Optional[str] = ...) -> None: ...

class InferRequest(_message.Message):
    __slots__ = ("ensemble", "version", "id", "inputs", "outputs", "members", "quorum", "weights", "strategy", "return_members", "timeout_s")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    RETURN_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    ensemble: str
    version: str
    id: str
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    members: _containers.RepeatedScalarFieldContainer[str]
    quorum: Quorum
    weights: _containers.ScalarMap[str, float]
    strategy: StrategyOverride
    return_members: bool
    timeout_s: float
    def __init__(self, ensemble: _Optional[str] = ..., version: _Optional[str] = ..., id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., members: _Optional[_Iterable[str]] = ..., quorum: _Optional[_Union[Quorum, _Mapping]] = ..., weights: _Optional[_Mapping[str, float]] = ..., strategy: _Optional[_Union[StrategyOverride, _Mapping]] = ..., return_members: _Optional[bool] = ..., timeout_s: _Optional[float] = ...) -> None: ...

class MemberReport(_message.Message):
    __slots__ = ("seat", "model", "version", "outcome", "cause", "message", "attempts", "weight_used", "queue_s", "compute_s", "wire_s", "outputs")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_USED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    WIRE_S_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    seat: str
    model: str
    version: str
    outcome: _errors_pb2.Outcome
    cause: _errors_pb2.Cause
    message: str
    attempts: int
    weight_used: float
    queue_s: float
    compute_s: float
    wire_s: float
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    def __init__(self, seat: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., outcome: _Optional[_Union[_errors_pb2.Outcome, str]] = ..., cause: _Optional[_Union[_errors_pb2.Cause, str]] = ..., message: _Optional[str] = ..., attempts: _Optional[int] = ..., weight_used: _Optional[float] = ..., queue_s: _Optional[float] = ..., compute_s: _Optional[float] = ..., wire_s: _Optional[float] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ...) -> None: ...

class CriticalPath(_message.Message):
    __slots__ = ("seat", "elapsed_s", "queue_s", "compute_s", "merge_s")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    QUEUE_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    MERGE_S_FIELD_NUMBER: _ClassVar[int]
    seat: str
    elapsed_s: float
    queue_s: float
    compute_s: float
    merge_s: float
    def __init__(self, seat: _Optional[str] = ..., elapsed_s: _Optional[float] = ..., queue_s: _Optional[float] = ..., compute_s: _Optional[float] = ..., merge_s: _Optional[float] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("degraded", "members_asked", "members_used", "members", "agreement", "elapsed_s", "critical_path")
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_ASKED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_USED_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    CRITICAL_PATH_FIELD_NUMBER: _ClassVar[int]
    degraded: bool
    members_asked: int
    members_used: int
    members: _containers.RepeatedCompositeFieldContainer[MemberReport]
    agreement: _containers.RepeatedScalarFieldContainer[float]
    elapsed_s: float
    critical_path: CriticalPath
    def __init__(self, degraded: _Optional[bool] = ..., members_asked: _Optional[int] = ..., members_used: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberReport, _Mapping]]] = ..., agreement: _Optional[_Iterable[float]] = ..., elapsed_s: _Optional[float] = ..., critical_path: _Optional[_Union[CriticalPath, _Mapping]] = ...) -> None: ...

class InferResponse(_message.Message):
    __slots__ = ("ensemble", "version", "id", "outputs", "report")
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    ensemble: str
    version: str
    id: str
    outputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    report: Report
    def __init__(self, ensemble: _Optional[str] = ..., version: _Optional[str] = ..., id: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., report: _Optional[_Union[Report, _Mapping]] = ...) -> None: ...

class InferStreamResponse(_message.Message):
    __slots__ = ("answer", "final", "quorum_met")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    QUORUM_MET_FIELD_NUMBER: _ClassVar[int]
    answer: InferResponse
    final: bool
    quorum_met: bool
    def __init__(self, answer: _Optional[_Union[InferResponse, _Mapping]] = ..., final: _Optional[bool] = ..., quorum_met: _Optional[bool] = ...) -> None: ...

class ListEnsemblesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EnsembleSummary(_message.Message):
    __slots__ = ("name", "version", "strategy", "ready", "members", "members_ready")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_READY_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    strategy: str
    ready: bool
    members: int
    members_ready: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., strategy: _Optional[str] = ..., ready: _Optional[bool] = ..., members: _Optional[int] = ..., members_ready: _Optional[int] = ...) -> None: ...

class ListEnsemblesResponse(_message.Message):
    __slots__ = ("ensembles",)
    ENSEMBLES_FIELD_NUMBER: _ClassVar[int]
    ensembles: _containers.RepeatedCompositeFieldContainer[EnsembleSummary]
    def __init__(self, ensembles: _Optional[_Iterable[_Union[EnsembleSummary, _Mapping]]] = ...) -> None: ...

class DescribeEnsembleRequest(_message.Message):
    __slots__ = ("ensemble", "version")
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ensemble: str
    version: str
    def __init__(self, ensemble: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class TensorDescription(_message.Message):
    __slots__ = ("name", "datatype", "shape", "labels", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    optional: bool
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., labels: _Optional[_Iterable[str]] = ..., optional: _Optional[bool] = ...) -> None: ...

class MemberDescription(_message.Message):
    __slots__ = ("seat", "model", "weight", "required", "timeout_s", "ready", "problem", "feeder", "reads")
    SEAT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    FEEDER_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    seat: str
    model: str
    weight: float
    required: bool
    timeout_s: float
    ready: bool
    problem: str
    feeder: bool
    reads: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, seat: _Optional[str] = ..., model: _Optional[str] = ..., weight: _Optional[float] = ..., required: _Optional[bool] = ..., timeout_s: _Optional[float] = ..., ready: _Optional[bool] = ..., problem: _Optional[str] = ..., feeder: _Optional[bool] = ..., reads: _Optional[_Iterable[str]] = ...) -> None: ...

class DescribeEnsembleResponse(_message.Message):
    __slots__ = ("name", "version", "strategy", "options_json", "inputs", "outputs", "members", "quorum", "deadline_s", "overrides", "ready")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_JSON_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    strategy: str
    options_json: str
    inputs: _containers.RepeatedCompositeFieldContainer[TensorDescription]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorDescription]
    members: _containers.RepeatedCompositeFieldContainer[MemberDescription]
    quorum: Quorum
    deadline_s: float
    overrides: _containers.RepeatedScalarFieldContainer[str]
    ready: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., strategy: _Optional[str] = ..., options_json: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[TensorDescription, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorDescription, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[MemberDescription, _Mapping]]] = ..., quorum: _Optional[_Union[Quorum, _Mapping]] = ..., deadline_s: _Optional[float] = ..., overrides: _Optional[_Iterable[str]] = ..., ready: _Optional[bool] = ...) -> None: ...
