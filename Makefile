# `make demo` and `make test` need nothing but Python 3.11 or newer: they make .venv and install into it, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo batch compare test test-slow test-ray format lint types check bench bench-lr bench-attach bench-batch bench-compare peers peers-batch signals fuzz faults docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

demo: $(INSTALLED)  ## find a learning rate for a small CNN on scikit-learn's digits
	$(BIN)/lrscout find-lr --recipe recipes/digits_cnn.yaml

batch: $(INSTALLED)  ## find a batch size for a small GPT within 1 GiB of memory
	$(BIN)/lrscout find-batch-size --recipe recipes/char_gpt.yaml --budget 1GiB --device cpu

compare: $(INSTALLED)  ## compare four learning-rate schedules on the same CNN
	$(BIN)/lrscout compare-schedulers --recipe recipes/digits_cnn.yaml --jobs auto

# programs that train in one thread each, two at a time
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(INSTALLED)  ## run the tests
	$(PYTEST)

test-slow: $(INSTALLED)  ## run the tests that take long
	$(PYTEST) -m slow

test-ray: $(INSTALLED)  ## run the tests that start a Ray cluster of two nodes on this machine
	$(BIN)/python -c 'import ray' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ray]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/cluster

fuzz: $(INSTALLED)  ## try 100,000 mutated inputs of everything that is typed or written (FUZZ=N for another number)
	FUZZ=$(or $(FUZZ),100000) $(PYTEST) --dist load tests/faults/test_fuzz.py tests/faults/test_parsers.py tests/faults/test_damaged_records.py

faults: $(INSTALLED)  ## end every command by every signal at every phase, and all else of tests/faults, in about half an hour
	FAULTS=all $(PYTEST) -m "slow or not slow" tests/faults

docs: $(INSTALLED)  ## write the options of every command into its page in docs/commands
	$(BIN)/python docs/generate.py

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

lint: $(INSTALLED)  ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)  ## check types
	$(BIN)/mypy

check: lint types test  ## format, lint, types and tests

bench: $(INSTALLED)  ## measure lrscout's overhead over a bare training loop, and its start-up
	$(BIN)/python tests/benchmarks/overhead.py

bench-attach: $(INSTALLED)  ## measure what a step costs inside an attached training command
	$(BIN)/python tests/benchmarks/attach.py

bench-lr: $(INSTALLED)  ## measure the regret of every rule on the learning-rate suite, beside the peers
	$(BIN)/python -c 'import mnist1d' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check mnist1d
	$(BIN)/python tests/benchmarks/lr_suite/bench.py

bench-compare: $(INSTALLED)  ## measure compare-schedulers --jobs 2 against one run at a time
	$(BIN)/python tests/benchmarks/compare_jobs.py

peers:  ## run the other finders' packages on our own tasks again, in an environment of their own (.venv-peers)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt torch pytorch-lightning==2.6.6 torch-lr-finder==0.2.2 scikit-learn mnist1d pandas matplotlib scipy pillow requests pyyaml
	# fastai asks for torchvision and spacy, which its finder does not use and which would bring another torch
	.venv-peers/bin/python -m pip install --quiet --no-deps fastai==2.8.12
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt 'fastcore>=2.2.22' 'fasttransform>=0.0.3' 'plum-dispatch<2.10' fastprogress fastdownload
	cd tests/benchmarks/lr_suite && for suite in own tail fresh chosen unseen; do ../../../.venv-peers/bin/python peers.py --module $${suite}_tasks --out $${suite}_peers.json || exit 1; done

signals: $(INSTALLED)  ## measure what else might tell the learning rate: Prodigy, sharpness, update size, longer trainings
	$(BIN)/python -m pip install --quiet --disable-pip-version-check mnist1d
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps prodigyopt
	cd tests/benchmarks/lr_suite && OMP_NUM_THREADS=1 ../../../$(BIN)/python signals.py
	cd tests/benchmarks/lr_suite && OMP_NUM_THREADS=1 ../../../$(BIN)/python signals.py --lengths

bench-batch: $(INSTALLED)  ## measure the search for batch sizes: what it costs, how good and how stable its answer is
	$(BIN)/python -c 'import mnist1d' 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check mnist1d
	$(BIN)/python tests/benchmarks/batch_size/bench.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/batch_size/regret.py
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/batch_size/regret.py --tasks digits_cnn_bn_adamw --times 10

peers-batch:  ## install Lightning for bench-batch, in an environment of its own (.venv-peers)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv-peers/bin/python -m pip install --quiet pytorch-lightning==2.6.6

clean:  ## remove what was installed and cached
	rm -rf $(VENV) .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch is pinned by constraints.txt here; a user's own installation is not
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"lrscout needs Python 3.11 or newer, this is {sys.version.split()[0]}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,recipes]'
	touch $@
