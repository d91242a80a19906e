# Common tasks; run `make help`. Each is a command that README.md also gives without make.
PYTHON ?= python3
EXTRA ?= cpu
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/demo.yaml

.DEFAULT_GOAL := help
.PHONY: help install run test test-all lint bench server s3 fuzz faults screenshots clean

help: ## list these lines
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(BIN)/facenet: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[$(EXTRA),test]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # pip would do it on one core
	@touch $@

install: $(BIN)/facenet ## install into .venv (EXTRA=gpu for NVIDIA GPUs)

run: install ## the demo: synthetic faces to a validated model (CONFIG=… for another)
	$(BIN)/facenet run --config $(CONFIG)

test: install lint ## the tests, under ten minutes
	$(BIN)/pytest -q -n 2 --dist loadgroup

test-all: install lint ## the tests with the slow ones
	$(BIN)/pytest -q -m 'slow or not slow'

lint: install ## style and formatting (ruff), types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install ## time the alignment (RAW=uri of a raw artifact; PEERS=python of the peers)
	$(BIN)/python benchmarks/align.py $(RAW) $(if $(PEERS),--peers $(PEERS))

server: install ## a Prefect server, its workers and all deployments on this machine, until Ctrl-C
	$(BIN)/python deployments/local_site.py

screenshots: install ## the pictures of docs/operations.md, of a real run (needs chromium)
	$(BIN)/python deployments/screenshots.py

s3: install ## an S3 server for development, its buckets in ./facenet-s3, until Ctrl-C
	$(BIN)/python deployments/local_s3.py

fuzz: install ## 100,000 hostile inputs for every parser (INPUTS=… for another number)
	$(BIN)/python -m qa.fuzz --inputs $(or $(INPUTS),100000)

faults: install ## a small pipeline under 200 seeded faults, compared with an undisturbed run (RUNS=… SEED=…)
	$(BIN)/python -m qa.faults.campaign \
	  --runs $(or $(RUNS),200) --seed $(or $(SEED),1)

clean: ## remove what was installed and built here, not what was stored
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
