"""Asks the ensemble "digits" of examples/digits.yaml with tritonclient's asyncio client."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "digits"


async def label(client: triton.InferenceServerClient, pixels: NDArray[np.float32]) -> str:
    """Return what the ensemble reads, or what was wrong with the question."""
    rows = pixels.reshape(1, -1)
    tensor = triton.InferInput("pixels", rows.shape, "FP32").set_data_from_numpy(rows)
    try:
        answer = await client.infer(MODEL, [tensor], client_timeout=10.0)
    except InferenceServerException as error:
        return str(error.status())
    return str(answer.as_numpy("label")[0])


async def main(address: str, image: str) -> None:
    """Ask for an image, for a fainter one, and for one that is wrong, at the same time."""
    pixels = np.loadtxt(image, np.float32).ravel()
    async with triton.InferenceServerClient(address) as client:
        print("ready:", await client.is_model_ready(MODEL))
        questions = {"image": pixels, "half the ink": pixels / np.float32(2), "63 pixels": pixels[1:]}
        answers = await asyncio.gather(*(label(client, question) for question in questions.values()))
        for name, answer in zip(questions, answers, strict=True):
            print(f"{name}: {answer}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
