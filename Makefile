PYTHON ?= python3
BIN = .venv/bin
OPTIONS ?=
# Threads that wait should not spin: on a busy machine that costs a training nine tenths of its speed.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: train test test-download check clean

train: .venv/installed
	$(BIN)/python scripts/fetch.py mobile_sam demonstration_ct
	$(BIN)/python -m monai.bundle run training --config_file configs/train.json $(OPTIONS)
	$(BIN)/python -m monai.bundle run evaluating --config_file "['configs/train.json','configs/evaluate.json']" $(OPTIONS)

test: .venv/tested
	$(BIN)/python -m pytest -n 2

test-download: .venv/tested
	$(BIN)/python -m pytest -m download

check: .venv/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv eval models build *.egg-info
