# The gateway by itself, without a model runtime: for models that other servers hold (`oip` in the configuration).
#   docker build -f deploy/docker/gateway.Dockerfile -t accord-gateway .
#   docker run --read-only --tmpfs /tmp -v ./accord.yaml:/etc/accord/accord.yaml:ro -p 127.0.0.1:8001:8001 accord-gateway
FROM python:3.12.15-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/build.lock requirements/gateway.lock requirements/
# pip stays in its own environment: the image runs without it
RUN python -m venv /opt/pip \
    && /opt/pip/bin/pip install --require-hashes --only-binary :all: -r requirements/build.lock \
    && python -m venv --without-pip /opt/accord \
    && /opt/pip/bin/pip --python /opt/accord install --require-hashes --only-binary :all: -r requirements/gateway.lock
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
LABEL org.opencontainers.image.title="accord-gateway" \
      org.opencontainers.image.description="A gRPC gateway that asks several models and gives one answer." \
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
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8002/readyz', timeout=4)"]
ENTRYPOINT ["accord"]
CMD ["serve", "/etc/accord/accord.yaml", "--log-format", "json"]
