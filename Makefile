.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo book test test-all check check-accuracy lint wheel bench bench-shallow bench-deep bench-features bench-growth bench-sweep clean

help:  ## show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(STAMP): pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev,joblib]'
	@touch $@

setup: $(STAMP)  ## create .venv and install, with the versions that the tests ran with

demo: $(STAMP)  ## sweep six tasks of digits and print the table
	$(BIN)/tda run experiment=demo

book: $(STAMP)  ## run the textbook's numbers and write results/book.md (WEIGHTS=file, of ResNet-50)
	OMP_NUM_THREADS=1 $(BIN)/python scripts/book.py --weights $(or $(WEIGHTS),imagenet)

test: $(STAMP)  ## run the tests but the slow ones and those on real data
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto -m "not slow and not data"

test-all: $(STAMP)  ## run every test that can run here
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto

lint: $(STAMP)  ## format check, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test-all  ## everything that must be green

check-accuracy: $(STAMP)  ## compare the accuracies of every shallow and four deep methods on the digits with what they were
	$(BIN)/tda check quick hydra/launcher=joblib

wheel: $(STAMP)  ## build the wheel, which carries the configuration
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

bench: $(STAMP)  ## the whole picture in one run: ours beside the textbook's, public libraries and bare passes (DATA= WEIGHTS=)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[bench]'
	$(BIN)/python scripts/bench.py $(if $(DATA),--data $(DATA)) $(if $(WEIGHTS),--weights $(WEIGHTS))

bench-shallow: $(STAMP)  ## time the shallow methods beside the textbook's algorithms
	$(BIN)/python scripts/bench_shallow.py

bench-deep: $(STAMP)  ## time a training step of every deep method beside the bare step of its network
	$(BIN)/python scripts/bench_deep.py
	$(BIN)/python scripts/bench_deep.py --images --methods source_only dan jan dann cdan_e mcc bnm dsan mcd shot

bench-features: $(STAMP)  ## time decoding and extraction beside bare forward passes (DATA=folder WEIGHTS=file)
	$(BIN)/python scripts/bench_features.py --data $(DATA) --weights $(WEIGHTS)

bench-growth: $(STAMP)  ## time and memory of the aligners up to 100,000 + 50,000 samples
	$(BIN)/python scripts/bench_growth.py

bench-sweep: $(STAMP)  ## what the runner adds to a cell, in sweeps of up to 100,000
	$(BIN)/python scripts/bench_sweep.py --cells 1000 10000 100000 --run 2000

clean:  ## remove the environment and what was built
	rm -rf $(VENV) dist build
