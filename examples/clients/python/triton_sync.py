"""Asks the ensemble "digits" of examples/digits.yaml with tritonclient."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "digits"


def tensor(pixels: NDArray[np.float32]) -> triton.InferInput:
    """Return one row of pixels as the model's input."""
    rows = pixels.reshape(1, -1)
    return triton.InferInput("pixels", rows.shape, "FP32").set_data_from_numpy(rows)


def main(address: str, image: str) -> None:
    """Ask for one image, and for one that is wrong."""
    pixels = np.loadtxt(image, np.float32).ravel()
    with triton.InferenceServerClient(address) as client:
        print("ready:", client.is_server_ready())

        metadata = client.get_model_metadata(MODEL)
        for spec in [*metadata.inputs, *metadata.outputs]:
            print(spec.name, spec.datatype, list(spec.shape))

        answer = client.infer(MODEL, [tensor(pixels)], client_timeout=10.0)
        print("label:", answer.as_numpy("label")[0])
        parameters: Any = answer.get_response().parameters
        print("degraded:", parameters["accord_degraded"].bool_param)

        try:
            client.infer(MODEL, [tensor(pixels[1:])], client_timeout=10.0)
        except InferenceServerException as error:
            print("63 pixels:", error.status(), error.message())


if __name__ == "__main__":
    main(*sys.argv[1:])
