"""Asks the ensemble "digits" of examples/digits.yaml with KServe's Python client."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "digits"


def request(pixels: NDArray[np.float32], *, binary: bool) -> InferRequest:
    """Return one row of pixels as a request, with raw or with typed contents."""
    rows = pixels.reshape(1, -1)
    tensor = InferInput("pixels", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(MODEL, [tensor])


async def main(address: str, image: str) -> None:
    """Ask for one image in both encodings, and for one that is wrong."""
    logging.getLogger("kserve").setLevel(logging.CRITICAL)  # its client logs what it also raises
    pixels = np.loadtxt(image, np.float32).ravel()
    async with InferenceGRPCClient(address, timeout=10.0) as client:
        print("ready:", await client.is_server_ready(), await client.is_model_ready(MODEL))
        for encoding, binary in [("raw", True), ("typed", False)]:
            answer = await client.infer(request(pixels, binary=binary))
            outputs = {output.name: output.as_numpy() for output in answer.outputs}
            print(f"label, {encoding}:", outputs["label"][0])
            print("degraded:", answer.parameters["accord_degraded"].bool_param)
        try:
            await client.infer(request(pixels[1:], binary=True))
        except grpc.aio.AioRpcError as error:
            print("63 pixels:", error.code().name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
