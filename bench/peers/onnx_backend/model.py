"""A model for Triton's Python backend that runs the ``model.onnx`` beside it with the ONNX runtime.

It stands in for Triton's own ONNX backend and keeps its habits: requests that Triton hands over together are
one run, ``reshape`` is undone, optional inputs may be absent, and the parameter ``intra_op_thread_count``
sets the threads. It runs inside Triton's environment and imports nothing of ours. numpy has no bfloat16, so
tensors of a model that has any pass from one runtime to the other by DLPack, one request at a time.

Sources: Triton "Python Backend"; Triton "Model Configuration"; onnxruntime_backend ``README.md``.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton's Python backend looks for in this file, by this name."""

    def initialize(self, args):
        """Load the model; an exception here is the reason that Triton gives for not loading it."""
        config = json.loads(args["model_config"])
        self._batches = config["max_batch_size"] > 0
        self._inputs = [entry["name"] for entry in config["input"]]
        self._outputs = {entry["name"]: entry for entry in config["output"]}
        self._boxed = "TYPE_BF16" in {entry["data_type"] for entry in (*config["input"], *config["output"])}
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        options = onnxruntime.SessionOptions()
        threads = config["parameters"].get("intra_op_thread_count", {"string_value": "0"})
        options.intra_op_num_threads = int(threads["string_value"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        """Answer the requests, in order; what one of them does wrong does not spoil the others."""
        if len(requests) > 1 and self._batches and not self._boxed:
            try:
                return self._together(requests)
            except Exception as error:  # noqa: BLE001 - which request is at fault shows next
                pb_utils.Logger.log_warn(f"asking one by one, because together they fail: {error}")
        return [self._alone(request) for request in requests]

    def _together(self, requests):
        feeds = [self._feed(request) for request in requests]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in set().union(*feeds)}
        wanted = self._wanted(*requests)
        answers = self._run(wanted, joined)
        stops = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])
        parts = {name: np.split(array, stops[:-1]) for name, array in answers.items()}
        return [
            _response([_tensor(name, parts[name][i]) for name in self._wanted(request)])
            for i, request in enumerate(requests)
        ]

    def _alone(self, request):
        wanted = self._wanted(request)
        try:
            if self._boxed:
                return _response(self._run_boxed(wanted, request))
            answers = self._run(wanted, self._feed(request))
            return _response([_tensor(name, array) for name, array in answers.items()])
        except Exception as error:  # noqa: BLE001 - any other way out would fail its neighbours too
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def _wanted(self, *requests):
        """Return the outputs that any of the requests asks for, in the config's order; Triton's is random."""
        asked = {name for request in requests for name in request.requested_output_names()}
        return [name for name in self._outputs if name in asked]

    def _given(self, request):
        tensors = {name: pb_utils.get_input_tensor_by_name(request, name) for name in self._inputs}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def _feed(self, request):
        return {name: _array(tensor) for name, tensor in self._given(request).items()}

    def _run(self, wanted, feed):
        values = self._session.run(wanted, feed)
        return {name: self._presented(name, value) for name, value in zip(wanted, values, strict=True)}

    def _presented(self, name, array):
        """Undo what the config's ``reshape`` does; Triton does so for inputs only."""
        entry = self._outputs[name]
        return array.reshape(*array.shape[: self._batches], *entry["dims"]) if "reshape" in entry else array

    def _run_boxed(self, wanted, request):
        boxes = {
            name: onnxruntime.OrtValue.from_dlpack(tensor) for name, tensor in self._given(request).items()
        }
        values = self._session.run_with_ort_values(wanted, boxes)
        return [pb_utils.Tensor.from_dlpack(name, value) for name, value in zip(wanted, values, strict=True)]


def _array(tensor):
    """Strings are bytes in the protocol and text in the ONNX runtime."""
    array = tensor.as_numpy()
    return _each(bytes.decode, array) if array.dtype == object else array


def _tensor(name, array):
    return pb_utils.Tensor(name, _each(str.encode, array) if array.dtype == object else array)


def _each(convert, array):
    return np.array([convert(text) for text in array.ravel()], dtype=object).reshape(array.shape)


def _response(tensors):
    return pb_utils.InferenceResponse(tensors)
