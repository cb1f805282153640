PYTHON ?= python3
BIN = .venv/bin
OPTIONS ?=
PORT ?= 8000
# Threads that wait should not spin: on a busy machine that costs a training nine tenths of its speed.
export OMP_WAIT_POLICY ?= PASSIVE
# Where it is set every process compiles MONAI and torch anew: 10 s each.
unexport PYTHONDONTWRITEBYTECODE
# As pip does: a hospital's proxy has a certificate of its own.
export UV_SYSTEM_CERTS ?= $(if $(wildcard /etc/ssl/certs /etc/pki/tls/certs),true,false)

LABEL = .venv-label/bin
BUNDLE = samparser_ct_abdomen_segmentation
DEMO = build/label_demo

.PHONY: train test test-download check coverage docs bundle label label-demo test-label \
	federated-demo test-federated clean

ifeq ($(OPTIONS),)
# A first look in minutes; with OPTIONS, and by itself, configs/train.json keeps the paper's 25 epochs.
FIRST = --names True --epochs 8 --train_size 20 --val_interval 2
ifneq ($(filter train,$(or $(MAKECMDGOALS),train)),)
$(info make train: install, fetch MobileSAM and two CT scans (80 MB), tune 8 epochs on 20 slices of one scan, \
compare with SAM as published on the other; four to six minutes on two free cores)
endif
endif

train: .venv/installed
	$(BIN)/samparser fetch mobile_sam demonstration_ct
	$(BIN)/python -m monai.bundle run training --config_file configs/train.json $(FIRST) $(OPTIONS)
	$(BIN)/python -m monai.bundle run evaluating --config_file "['configs/train.json','configs/evaluate.json']" $(if $(FIRST),--names True --box_shifts "[]") $(OPTIONS)

test: .venv/tested
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-download: .venv/tested
	$(BIN)/samparser fetch mobile_sam lite_medsam demonstration_ct
	$(BIN)/python -m pytest -m download

check: .venv/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The share of samparser_monai that `make test` executes may not fall.
coverage: .venv/tested
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered

# No network: whatever a page loads lies beside it. Notebooks run on the tiny backbone.
docs: .venv/documented
	rm -rf build/site docs/reference/api
	$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/site
	$(BIN)/python docs/check_site.py build/site

bundle: .venv/installed
	$(BIN)/samparser bundle $(OPTIONS)

label: .venv-label/installed

label-demo: .venv-label/installed $(DEMO)/$(BUNDLE)
	$(LABEL)/python $(DEMO)/$(BUNDLE)/label_app/serve.py --studies $(DEMO)/studies --port $(PORT)

test-label: .venv-label/tested $(DEMO)/$(BUNDLE)
	$(LABEL)/python -m pytest -m server tests/test_label_store.py tests/test_label_server.py \
		tests/test_label_roles.py tests/test_label_ohif.py

federated-demo: .venv/federated
	$(BIN)/samparser fetch mobile_sam
	$(BIN)/python scripts/federated.py demo build/federated_demo $(OPTIONS)

test-federated: .venv/federated .venv/tested
	$(BIN)/python -m pytest -m federated tests/test_federated_flare.py

# The server's own copy, which trainings add to; `make bundle` leaves it alone.
$(DEMO)/$(BUNDLE): | bundle
	$(BIN)/samparser fetch demonstration_ct
	$(BIN)/python scripts/label_studies.py $(DEMO)/studies
	cp -r build/$(BUNDLE) $@

SUPPORTED = $(PYTHON) -c "import sys; v = sys.version_info[:2]; v < (3, 11) and sys.exit('error: PYTHON=$(PYTHON) is Python %d.%d: name one of 3.11 to 3.13 by make PYTHON=...' % v)"

.venv/installed: pyproject.toml constraints.txt
	@test -d .venv || { $(SUPPORTED) && $(PYTHON) -m venv .venv; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[test]'
	touch $@

.venv/documented: .venv/installed
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv/federated: .venv/installed
	$(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --editable '.[federated]'
	touch $@

.venv-label/installed: bundle/monailabel/requirements.txt .venv/installed
	@test -d .venv-label || { $(SUPPORTED) && $(PYTHON) -m venv .venv-label; }
	$(BIN)/uv pip install --python $(LABEL)/python --no-deps --requirement $<
	touch $@

.venv-label/tested: bundle/monailabel/requirements-test.txt .venv-label/installed
	$(BIN)/uv pip install --python $(LABEL)/python --no-deps --requirement $<
	touch $@

clean:
	rm -rf .venv .venv-label eval models build *.egg-info
