# make        the main job: corpus -> tokens -> ten small models -> scaling laws -> ten tunes; goes on where it was stopped
# make test   the tests
# make clean  removes what make made, except the environment
# Own environment: pip install -r requirements.txt, then `make PY=python` or the scripts themselves.

PYTHON ?= python3
VENV   := .venv
PY     ?= $(VENV)/bin/python
READY  := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/ready)

# One run a core at a time, one thread each, the longest first: for models this small that beats all cores on one run.
RUNS  := $(foreach n,5 4 3 2 1,out/quick_gpt_$(n)/done out/quick_rnn_$(n)/done)
CORES := $(shell getconf _NPROCESSORS_ONLN)
MAKEFLAGS += -j$(CORES)
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
DATA := data/bundled/meta.json

all: samples/index.html
	@echo "look at out/scaling/scaling.png and out/scaling/report.md, listen to samples/index.html"

$(VENV)/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "error: Python 3.10 or newer is needed; make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(DATA): | $(READY)
	$(PY) prepare.py

# A checkpoint exists from early on, so a run is finished when `done` says so. One that was finished before its config or the data
# changed is made anew.
out/%/done: config/%.py $(DATA) | $(READY)
	@if [ -e $@ ]; then rm -r $(@D); fi
	OMP_NUM_THREADS=1 $(PY) train.py $< --resume --log_interval=50 2>&1 | sed -u 's/^/$*: /'
	@touch $@

out/scaling/scaling.json: $(RUNS)
	$(PY) fit_scaling.py $(RUNS:done=ckpt.pt)

samples/index.html: out/scaling/scaling.json
	$(PY) sample.py --out_midi

test: $(READY)
	$(PY) -m pytest -q

clean:
	rm -rf data out samples

.PHONY: all test clean
.DELETE_ON_ERROR:
.SECONDARY:
