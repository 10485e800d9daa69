"""Asks the ensemble "digits" of examples/digits.yaml with Accord's own client."""

from __future__ import annotations

import sys

import numpy as np

from accord.client import CallError, Client

MODEL = "digits"


def main(address: str, image: str) -> None:
    """Ask for one image, for it with three members only, and for one that is wrong."""
    pixels = np.loadtxt(image, np.float32).reshape(1, -1)
    with Client(address) as client:
        answer = client.infer(MODEL, {"pixels": pixels})
        print("label:", answer.outputs["label"][0])
        print("degraded:", answer.report.degraded)
        print("members:", ", ".join(member.seat for member in answer.report.members))

        three = client.infer(MODEL, {"pixels": pixels}, members=["digits-svm", "digits-forest", "digits-mlp"])
        print("three of them:", three.outputs["label"][0])

        try:
            client.infer(MODEL, {"pixels": pixels[:, 1:]})
        except CallError as error:
            print("63 pixels:", error.reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
