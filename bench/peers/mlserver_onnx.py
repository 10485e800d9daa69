"""An MLServer runtime that runs the ONNX files of its settings; it runs inside MLServer's environment.

Of several files it answers the mean. What the settings list as outputs is all it needs to know of the model.

Source: MLServer "Custom Inference Runtimes".
"""

import asyncio

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """One model, as MLServer wants it."""

    async def load(self):
        """Load the file; MLServer calls it ready when this returns true."""
        uri = await get_model_uri(self._settings)
        extra = self._settings.parameters.extra
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = extra["threads"]
        self._sessions = [
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            for path in extra.get("members", [uri])
        ]
        return True

    async def predict(self, payload):
        """Answer one request, in a thread so that probes are answered meanwhile."""
        feed = {entry.name: _array(entry) for entry in payload.inputs}
        wanted = [entry.name for entry in payload.outputs or self.outputs]
        values = await asyncio.to_thread(self._run, wanted, feed)
        outputs = [_output(name, value) for name, value in zip(wanted, values, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)

    def _run(self, wanted, feed):
        answers = [session.run(wanted, feed) for session in self._sessions]
        return (
            answers[0]
            if len(answers) == 1
            else [np.mean(arrays, axis=0) for arrays in zip(*answers, strict=True)]
        )


def _array(entry):
    """Strings are bytes in the protocol and text in the ONNX runtime."""
    if entry.datatype == "BYTES":
        return np.array(StringCodec.decode_input(entry), dtype=object).reshape(entry.shape)
    return NumpyCodec.decode_input(entry)


def _output(name, array):
    if array.dtype == object:
        output = StringCodec.encode_output(name, array.ravel().tolist())
    else:
        output = NumpyCodec.encode_output(name, array)
    output.shape = list(array.shape)  # the codecs make a vector a column
    return output
