"""The last step of a Triton ensemble: the mean of all its inputs; it runs inside Triton's environment."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton's Python backend looks for in this file, by this name."""

    def initialize(self, args):
        """Read the tensors' names from the model's config."""
        config = json.loads(args["model_config"])
        self._inputs = [entry["name"] for entry in config["input"]]
        self._output = config["output"][0]["name"]

    def execute(self, requests):
        """Answer the requests, in order."""
        return [pb_utils.InferenceResponse([self._mean(request)]) for request in requests]

    def _mean(self, request):
        arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs]
        return pb_utils.Tensor(self._output, np.mean(arrays, axis=0))
