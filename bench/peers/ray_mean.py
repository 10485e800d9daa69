"""Models and their mean on Ray Serve; it runs inside Ray's environment.

``python -P ray_mean.py PORT HTTP_PORT OUTPUT FILE ...`` has a deployment for each ONNX file and one that asks
them all. Ray's own gRPC proxy listens, with the Open Inference Protocol's servicer. Source: Ray Serve "Set Up
a gRPC Service", "Deploy Compositions of Models".
"""

import asyncio
import signal
import sys
import threading

import numpy as np
import onnxruntime
import ray
from ray import serve
from ray.serve.config import gRPCOptions
from tritonclient.grpc import service_pb2


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
class Member:
    """One model."""

    def __init__(self, file):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, rows, output):
        """Answer rows."""
        return self._session.run([output], {self._input: rows})[0]


@serve.deployment(ray_actor_options={"num_cpus": 0}, max_ongoing_requests=1000)
class Mean:
    """What clients call: the methods have the names of the protocol's."""

    def __init__(self, output, *members):
        self._output, self._members = output, members

    async def ModelInfer(self, request):  # noqa: N802
        """Ask all models and answer their mean."""
        tensor = request.inputs[0]
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(tensor.shape)
        answers = await asyncio.gather(*(member.remote(rows, self._output) for member in self._members))
        mean = np.mean(answers, axis=0)
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name=self._output, datatype="FP32", shape=mean.shape)
        response.raw_output_contents.append(mean.tobytes())
        return response

    async def ServerReady(self, request):  # noqa: N802
        """Say yes: it is not asked before."""
        return service_pb2.ServerReadyResponse(ready=True)


if __name__ == "__main__":
    port, http, name, *files = sys.argv[1:]
    ray.init(include_dashboard=False, configure_logging=False)
    servicer = "tritonclient.grpc.service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"
    serve.start(
        grpc_options=gRPCOptions(port=int(port), grpc_servicer_functions=[servicer]),
        http_options={"location": "HeadOnly", "host": "127.0.0.1", "port": int(http)},
    )
    members = [Member.options(name=f"member-{i}").bind(file) for i, file in enumerate(files)]
    serve.run(Mean.bind(name, *members))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
