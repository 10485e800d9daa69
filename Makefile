# Every target works from a bare clone: it sets up what it needs, once, in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCK := requirements/dev.lock
GPU := build/venv-gpu
TRAIN := build/venv-train
PROTOS := $(wildcard protos/accord/v1/*.proto)
# A test run starts about a hundred processes, and uv installs without bytecode: two thirds of each start would be compiling.
# It is kept outside the tree, so also where PYTHONDONTWRITEBYTECODE asks for a clean one.
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/bytecode
unexport PYTHONDONTWRITEBYTECODE
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[36m%-11s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Create .venv with everything that development and the demo need

$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Accord needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/installer.lock
	@echo "Installing the locked dependencies into $(VENV) ..."
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes $(LOCK) requirements/installer.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: $(READY) ## Renew the lock files from pyproject.toml
	@$(COMPILE) --extra cpu --extra demo --extra dev pyproject.toml requirements/build.in -o $(LOCK)
	@echo uv | $(COMPILE) --no-annotate - -o requirements/installer.lock
	@$(COMPILE) -c $(LOCK) pyproject.toml -o requirements/gateway.lock
	@$(COMPILE) -c $(LOCK) --extra cpu --extra text pyproject.toml -o requirements/runtime-cpu.lock
	@$(COMPILE) -c $(LOCK) --extra gpu --extra text pyproject.toml -o requirements/runtime-gpu.lock
	@$(COMPILE) -c $(LOCK) requirements/build.in -o requirements/build.lock
	@$(COMPILE) -c $(LOCK) --extra cpu --extra train --extra track --extra dev pyproject.toml -o requirements/train.lock
	@$(COMPILE) -c $(LOCK) -c requirements/runtime-gpu.lock --extra gpu --extra demo --extra dev pyproject.toml requirements/test-gpu.in -o requirements/test-gpu.lock
	@for input in requirements/peers/*.in; do $(COMPILE) $$input -o $${input%.in}.lock || exit 1; done

.PHONY: protos
protos: $(READY) ## Compile protos/accord/v1 into accord/v1
	@$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=. --pyi_out=. $(PROTOS)
	@$(BIN)/python -m grpc_tools.protoc -Iprotos --grpc_python_out=. protos/accord/v1/ensemble.proto

.PHONY: docs
docs: $(READY) ## Write the error and configuration reference from the source
	@$(BIN)/python -m docs.generate

.PHONY: fmt
fmt: $(READY) ## Format the code
	@$(BIN)/ruff format -q .
	@$(BIN)/ruff check -q --fix .

.PHONY: lint
lint: $(READY) ## Check style, import direction and Dockerfiles
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/lint-imports
	@$(BIN)/hadolint deploy/docker/*.Dockerfile

.PHONY: type
type: $(READY) ## Check types, strictly
	@$(BIN)/mypy

.PHONY: drift
drift: $(READY) ## Fail if generated files differ from what their sources say
	@cp -r accord/v1 build/.drift-v1 2>/dev/null || (mkdir -p build && cp -r accord/v1 build/.drift-v1)
	@$(MAKE) -s protos && diff -r -x __pycache__ accord/v1 build/.drift-v1 && rm -r build/.drift-v1
	@$(BIN)/python -m docs.generate --check

.PHONY: test
test: $(READY) ## Run the fast tests: unit, laws, properties, and integration with real workers
	@# in this order, because the longest files must not start last
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/integration tests/property tests/laws tests/unit

.PHONY: test-all
test-all: models ## Run all tests: also foreign clients, chaos and every command in the docs
	@$(BIN)/python -m pytest

.PHONY: test-gpu
test-gpu: $(GPU)/.ready ## Run the tests that need an NVIDIA GPU and its driver, in an environment of their own
	@$(GPU)/bin/python -m pytest tests/gpu

$(GPU)/.ready: requirements/test-gpu.lock
	@test -x $(GPU)/bin/python || $(PYTHON) -m venv $(GPU)
	@$(GPU)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/installer.lock
	@echo "Installing the locked dependencies, with CUDA and cuDNN, into $(GPU) ..."
	@$(GPU)/bin/uv pip sync -q --python $(GPU)/bin/python --require-hashes requirements/test-gpu.lock requirements/installer.lock
	@touch $@

.PHONY: train-setup
train-setup: $(TRAIN)/.ready ## Create build/venv-train with everything that training needs: torch with CUDA, 6.4 GB

$(TRAIN)/.ready: requirements/train.lock pyproject.toml
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN)
	@$(TRAIN)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/installer.lock
	@echo "Installing the locked dependencies, with torch, into $(TRAIN) ..."
	@$(TRAIN)/bin/uv pip sync -q --python $(TRAIN)/bin/python --require-hashes requirements/train.lock requirements/installer.lock
	@$(TRAIN)/bin/uv pip install -q --python $(TRAIN)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: test-train
test-train: $(TRAIN)/.ready ## Run the tests that need torch: training, compression, export
	@# a thread each: two processes that share two cores would wait for each other
	@OMP_NUM_THREADS=1 $(TRAIN)/bin/python -m pytest -n 2 --dist loadfile tests/training

.PHONY: train-demo
train-demo: $(TRAIN)/.ready ## Train, compress, distil and export models of reviews, serve them, and compare served with trained
	@$(TRAIN)/bin/python -m examples.training.demo

.PHONY: train-smoke
train-smoke: $(TRAIN)/.ready ## The same on four thousand sentences, in minutes, to see that the whole chain works
	@rm -rf build/runs/smoke build/train-smoke
	@$(TRAIN)/bin/python -m examples.training.demo --config examples/training/smoke.yaml --out build/train-smoke

.PHONY: bench-train
bench-train: $(TRAIN)/.ready ## Measure every claim of training: an hour and a half
	@$(TRAIN)/bin/python -m bench.training

.PHONY: cov
cov: models ## Run all tests with branch coverage
	@$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

.PHONY: models
models: $(READY) ## Train the example models on real data and export them to build/models
	@$(BIN)/python -m examples.models.minilm
	@$(BIN)/python -m examples.models

.PHONY: demo
demo: models ## Serve the example models and watch them answer, with a member killed on the way
	@$(BIN)/python -m examples.demo

.PHONY: run
run: models ## Serve examples/digits.yaml until Ctrl-C (CONFIG=... for another)
	@$(BIN)/accord serve $(or $(CONFIG),examples/digits.yaml)

.PHONY: load
load: models ## Load the digits ensemble with ghz (needs Go the first time)
	@$(BIN)/python -m deploy.ghz.load

.PHONY: bench
bench: models ## Measure every claim: half an hour; needs Go the first time, and h2load
	@$(BIN)/python -m bench

.PHONY: bench-quick
bench-quick: $(READY) ## See in two minutes that the bench works; its figures say nothing
	@$(BIN)/python -m bench --quick --out build/bench-quick

.PHONY: check
check: lint type drift test-all demo ## Everything CI runs, but for training

.PHONY: check-train
check-train: test-train train-smoke ## What CI runs of training, which installs torch
