"""Models and their mean on LitServe; it runs inside LitServe's environment.

``python -P litserve_mean.py PORT BATCH INPUT OUTPUT FILE ...`` answers ``POST /predict`` with JSON, and runs
requests that come together as one batch. Source: LitServe "Batching".
"""

import sys

import litserve
import numpy as np
import onnxruntime

_BATCH_TIMEOUT_S = 0.001


class Mean(litserve.LitAPI):
    """All models in one process, as LitServe wants them."""

    def setup(self, device):
        """Load the files."""
        _, _, self._input, self._output, *files = sys.argv[1:]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = [
            onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in files
        ]

    def decode_request(self, request):
        """Return one request's rows."""
        return np.asarray(request[self._input], np.float32)

    def batch(self, inputs):
        """Join requests, and remember how."""
        self._stops = np.cumsum([len(rows) for rows in inputs])[:-1]
        return np.concatenate(inputs)

    def predict(self, rows):
        """Answer the mean of all models."""
        answers = [session.run([self._output], {self._input: rows})[0] for session in self._sessions]
        return np.mean(answers, axis=0)

    def unbatch(self, output):
        """Give each request its own rows."""
        return np.split(output, self._stops)

    def encode_response(self, output):
        """Return what is sent as JSON."""
        return {self._output: output.tolist()}


if __name__ == "__main__":
    port, batch = map(int, sys.argv[1:3])
    api = Mean(max_batch_size=batch, batch_timeout=_BATCH_TIMEOUT_S)
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1", port=port, generate_client_file=False, log_level="warning"
    )
