# Accord with the ONNX runtime for CPUs: one worker, or gateway and workers together (`serve`).
#   docker build -f deploy/docker/worker.Dockerfile -t accord-worker .
#   docker run --read-only --tmpfs /tmp -v ./build/models:/models:ro accord-worker \
#     worker --repository /models --address 0.0.0.0:8001 --model digits-svm
FROM python:3.12.15-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/build.lock requirements/runtime-cpu.lock requirements/
# pip stays in its own environment: the image runs without it
RUN python -m venv /opt/pip \
    && /opt/pip/bin/pip install --require-hashes --only-binary :all: -r requirements/build.lock \
    && python -m venv --without-pip /opt/accord \
    && /opt/pip/bin/pip --python /opt/accord install --require-hashes --only-binary :all: -r requirements/runtime-cpu.lock
COPY pyproject.toml README.md LICENSE ./
COPY accord accord
COPY protos protos
COPY gateway gateway
COPY workers workers
RUN /opt/pip/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/pip/bin/pip --python /opt/accord install --no-deps --no-index /wheels/*.whl

FROM python:3.12.15-slim-trixie
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="accord-worker" \
      org.opencontainers.image.description="Serves one ONNX model over the Open Inference Protocol, on CPUs." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/accord /opt/accord
# inside a container only its own network reaches these addresses; what the host publishes is the host's choice
ENV PATH=/opt/accord/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    ACCORD_SERVER__ADDRESS=0.0.0.0:8001 \
    ACCORD_SERVER__METRICS=0.0.0.0:8002
USER 65532:65532
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# grpc.health.v1: the answer is HealthCheckResponse{status: SERVING}
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import grpc; c = grpc.insecure_channel('127.0.0.1:8001'); assert c.unary_unary('/grpc.health.v1.Health/Check')(b'', timeout=4) == bytes([8, 1])"]
ENTRYPOINT ["accord"]
CMD ["worker", "--help"]
