"""A gateway in front of other servers, asked by plain protocol messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protos import oip

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import grpc

    from protos.tensor import Tensor

__all__ = ["infer", "write_config"]

m = oip.messages


def write_config(folder: Path, address: str, models: Iterable[str]) -> Path:
    """Write a configuration whose models are all served at one address."""
    lines = (f"  {name}: {{oip: {{targets: ['{address}']}}}}" for name in models)
    path = folder / "accord.yaml"
    path.write_text("\n".join(["models:", *lines, ""]))
    return path


def infer(
    channel: grpc.Channel, model: str, inputs: Mapping[str, Tensor], *, within_s: float = 30.0
) -> dict[str, Tensor]:
    """Ask a model; return its outputs."""
    request = m.ModelInferRequest(model_name=model)
    oip.write_inputs(request, inputs)
    call: Any = channel.unary_unary(
        f"/{oip.SERVICE}/ModelInfer",
        request_serializer=m.ModelInferRequest.SerializeToString,
        response_deserializer=m.ModelInferResponse.FromString,
    )
    return oip.read_outputs(call(request, timeout=within_s))
