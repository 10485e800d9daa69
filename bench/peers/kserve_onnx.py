"""A KServe model server for ONNX files; it runs inside KServe's environment.

``python -P kserve_onnx.py --grpc_port PORT --http_port 0 REPOSITORY`` serves each model there, as its
``<model>/model.json`` describes it; of several files a model answers the mean. Source: KServe "Custom
Predictor".
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer


class OnnxModel(Model):
    """One model, as KServe wants it."""

    def __init__(self, folder):
        super().__init__(folder.name)
        self._folder, self._facts = folder, json.loads((folder / "model.json").read_text("utf-8"))
        self.load()

    def load(self):
        """Load the file and tell whether the model is ready."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._facts["threads"]
        self._sessions = [
            onnxruntime.InferenceSession(
                str(self._folder / file), options, providers=["CPUExecutionProvider"]
            )
            for file in self._facts["files"]
        ]
        self.ready = True
        return self.ready

    def get_input_types(self):
        """Return the metadata of the inputs."""
        return self._facts["inputs"]

    def get_output_types(self):
        """Return the metadata of the outputs."""
        return self._facts["outputs"]

    async def predict(self, payload, headers=None, response_headers=None):
        """Answer one request, in a thread so that probes are answered meanwhile; raw if it came raw."""
        feed = {entry.name: _array(entry) for entry in payload.inputs}
        datatypes = {entry["name"]: entry["datatype"] for entry in self._facts["outputs"]}
        wanted = [entry.name for entry in payload.request_outputs or ()] or list(datatypes)
        values = await asyncio.to_thread(self._run, wanted, feed)
        outputs = []
        for name, value in zip(wanted, values, strict=True):
            outputs.append(InferOutput(name, list(value.shape), datatypes[name]))
            outputs[-1].set_data_from_numpy(value, binary_data=payload.use_binary_outputs)
        return InferResponse(payload.id, self.name, outputs)

    def _run(self, wanted, feed):
        answers = [session.run(wanted, feed) for session in self._sessions]
        return (
            answers[0]
            if len(answers) == 1
            else [np.mean(arrays, axis=0) for arrays in zip(*answers, strict=True)]
        )


def _array(entry):
    """Strings are bytes in the protocol and text in the ONNX runtime."""
    array = entry.as_numpy()
    if array.dtype != object:
        return array
    return np.array([text.decode() for text in array.ravel()], dtype=object).reshape(array.shape)


if __name__ == "__main__":
    ModelServer(grace_period=1).start([OnnxModel(folder) for folder in sorted(Path(sys.argv[-1]).iterdir())])
