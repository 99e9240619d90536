# Every target sets itself up: a virtual environment in .venv, the install with the extras it needs, then the job.
#
#   make demo               from a real table to a density, samples and a report; DATA=my.csv for your own table
#   make test               the tests that take a second at most, on all processors
#   make test-slow          those that take longer: whole fits, simulations, pages, processes
#   make test-plain         the contract without the fast room: with its folder deleted
#   make lint | docs
#   make wheel              the wheel, of less than 1 MiB, and the source distribution, in dist/; a look at what is in them
#   make gpu                contract, training and speed on a CUDA device, results named after the card
#   make bench              every benchmark against every peer, about 40 minutes; QUICK=1 for a look in 5; JOBS=1 for the jobs
#
# PYTHON=python3.12 picks the interpreter (3.11 or newer), PYTEST="-k contract" passes options to pytest, PARALLEL= runs
# one test after another.

PYTHON ?= python3
PYTEST ?=
DATA ?=
BIN := .venv/bin

.PHONY: demo test test-slow test-plain lint docs bench gpu wheel clean
.DEFAULT_GOAL := demo

demo: .venv/demo.stamp
	$(BIN)/pushforward demo $(if $(DATA),"$(DATA)")

# A process for every processor, eight at most; neighbouring tests stay together, so that few fits are made twice.
PARALLEL := -n logical --maxprocesses 8 --dist worksteal
test test-slow test-plain: export PYTHONDONTWRITEBYTECODE =# else every process that a test starts would compile the package anew
test: .venv/dev.stamp
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

test-slow: .venv/dev.stamp
	$(BIN)/python -m pytest $(PARALLEL) -m slow $(PYTEST)

# The formulas alone: a copy of the package in which fused/ does not exist, in double precision, the stricter number type.
# Only what asks for the fast room is run: a transform on its own never does, nor what a compiler traces.
CONTRACT := tests/contracts/test_contract.py
PLAIN := $(addprefix $(CONTRACT)::,test_recipe test_recipe_for_images test_model_without_a_transform) \
	tests/contracts/test_golden.py tests/transforms/test_autoregressive.py
test-plain: .venv/dev.stamp
	rm -rf build/plain && mkdir -p build/plain && cp -r src/pushforward build/plain && rm -r build/plain/pushforward/fused
	PYTHONPATH=build/plain $(BIN)/python -m pytest $(PARALLEL) -k "not float32" $(PLAIN)

lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(firstword $(wildcard .venv/dev.stamp) .venv/docs.stamp) # tests need all that pages need
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: .venv/bench.stamp
	$(BIN)/python benchmarks/all.py $(if $(QUICK),--quick) $(if $(JOBS),--jobs)

gpu: .venv/dev.stamp .venv/bench.stamp
	$(BIN)/python -m pytest --device cuda -m "not compiler" tests/contracts/test_devices.py tests/contracts/test_contract.py
	$(BIN)/python benchmarks/all.py --gpu

# What makes and checks a wheel needs neither the package nor what it is built on, and has an environment of its own.
WHEEL := build/wheel
wheel: $(WHEEL)/stamp
	rm -rf dist && $(WHEEL)/bin/python -m build -q
	$(WHEEL)/bin/python .ci/compress dist/*.whl
	$(WHEEL)/bin/twine check --strict dist/*
	$(WHEEL)/bin/check-wheel-contents dist/*.whl
	@test "$$(cat dist/*.whl | wc -c)" -lt 1048576 || { echo "the wheel has 1 MiB or more"; exit 1; }

clean:
	rm -rf .venv docs/_build demo dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(WHEEL)/stamp: Makefile | $(WHEEL)/bin/pip
	$(WHEEL)/bin/pip install --quiet "build>=1.2" "twine>=6.1" "check-wheel-contents>=0.6" "zopflipy>=1.11"
	@touch $@

# A stamp says that the extra of its name is installed; a changed pyproject.toml installs again.
.venv/%.stamp: pyproject.toml | .venv/bin/pip
	$(BIN)/pip install --quiet --editable ".[$*]"
	@touch $@

.venv/bin/pip $(WHEEL)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "pushforward needs Python 3.11 or newer, but $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(@:/bin/pip=)
