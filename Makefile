PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
FASHION_MNIST ?= /usr/share/datasets/fashion-mnist
COVERAGE ?=
# Files of tests that run at the same time.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python $(if $(COVERAGE),-m coverage run )-m pytest --numprocesses $(JOBS) --dist loadfile

.PHONY: help setup demo serve test test-slow lint format pantry sets clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(VENV)/.installed  ## install everything into a virtual environment

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("soupsearch needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV): 6 GB, most of them PyTorch. This takes several minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[api,workers,lab,embedded,dev]'
	touch $@

demo: setup  ## run the whole service on real images: upload, search, download, compare
	$(BIN)/soupsearch demo --out out/demo

serve: setup  ## run the service on this machine
	$(BIN)/soupsearch serve

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## check format, lint, types and import rules, run unit and end-to-end tests
	$(PYTEST) -m "not slow"

test-slow: setup  ## run the tests that take longer
	$(PYTEST) -m slow

format: setup  ## rewrite the code in the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pantry: setup  ## train the shipped pantries again, from the IDX files in FASHION_MNIST
	$(BIN)/soupsearch pantry build examples/recipes/fashion-vit.yaml examples/pantries --data $(FASHION_MNIST)
	$(BIN)/soupsearch pantry build examples/recipes/fashion-resnet.yaml examples/pantries --data $(FASHION_MNIST)
	$(BIN)/soupsearch pantry build examples/recipes/fashion-resnet-strong.yaml examples/pantries --data $(FASHION_MNIST)

sets: setup  ## make the shipped adaptation sets again
	$(BIN)/python examples/make_sets.py --data $(FASHION_MNIST)

clean:  ## remove what the targets made
	rm -rf out build .coverage* $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
