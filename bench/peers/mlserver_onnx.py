"""An MLServer runtime that runs the ONNX file of its settings; it runs inside MLServer's environment.

What the settings list as outputs is all it needs to know of the model.

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
        path = await get_model_uri(self._settings)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._settings.parameters.extra["threads"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        """Answer one request, in a thread so that probes are answered meanwhile."""
        feed = {entry.name: _array(entry) for entry in payload.inputs}
        wanted = [entry.name for entry in payload.outputs or self.outputs]
        values = await asyncio.to_thread(self._session.run, wanted, feed)
        outputs = [_output(name, value) for name, value in zip(wanted, values, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


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
