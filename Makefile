# make        corpus -> tokens -> eight small models -> scaling laws -> ten tunes; after an
#             interruption it resumes
# make test   the tests
# make lint   the style
# make clean  removes what make made, except the environment
# Own environment: pip install -r requirements.txt, then `make PY=python` or the scripts themselves.

PYTHON ?= python3
VENV   := .venv
PY     ?= $(VENV)/bin/python
READY  := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/ready)
NO_TORCH := $(READY:ready=no_torch)

# The runs, the longest first, and the config files and flags of each. One run per core at a time,
# with one thread: for models this small that is faster than all cores on one run.
NAMES := quick_best quick_gpt_4 quick_gpt_3 quick_gpt_2 quick_rnn_3 quick_gpt_1 quick_rnn_2 \
         quick_rnn_1
quick_best  := config/quick_best.py
quick_gpt_1 := config/quick_gpt.py --n_embd=32
quick_gpt_2 := config/quick_gpt.py --n_embd=64
quick_gpt_3 := config/quick_gpt.py --n_embd=96
quick_gpt_4 := config/quick_gpt.py --n_embd=128
quick_rnn_1 := config/quick_rnn.py --hidden_size=64
quick_rnn_2 := config/quick_rnn.py --hidden_size=96
quick_rnn_3 := config/quick_rnn.py --hidden_size=144

RUNS  := $(NAMES:%=out/%/done)
DATA  := data/bundled/meta.json
PIP   := $(VENV)/bin/python -m pip install --no-compile --quiet --disable-pip-version-check
CORES := $(shell getconf _NPROCESSORS_ONLN)
MAKEFLAGS += -j$(CORES)
# pip has compiled nothing, so without bytecode files each process would compile torch again.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

all: samples/index.html out/scaling/scaling.json
	@echo "look at out/scaling/scaling.png and out/scaling/report.md, listen to samples/index.html"

# torch, which is large, comes while the corpus is read, which needs no torch.
$(VENV)/no_torch: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'error: Python 3.10 or newer is needed; make PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r <(grep -v '^torch=' $<)
	@touch $@

$(VENV)/ready: $(VENV)/no_torch
	$(PIP) -r requirements.txt
	@touch $@

$(DATA): | $(NO_TORCH)
	$(PY) prepare.py

# The settings that a run was made with, all that its config and flags come to. The file changes
# only when they do, not with a comment in a config or with a new date of a config after a checkout.
out/.config/%: FORCE | $(NO_TORCH)
	@mkdir -p $(@D)
	@$(PY) configurator.py $($*) >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# A checkpoint exists from early on, so a run is finished when `done` says so. One that was finished
# with other settings or other data is moved to out/former, never deleted.
out/%/done: out/.config/% $(DATA) | $(READY)
	@if [ -e $@ ]; then mkdir -p out/former && mv $(@D) "out/former/$*-$$(date +%Y%m%d-%H%M%S)"; fi
	OMP_NUM_THREADS=1 $(PY) train.py $($*) --out_dir=$(@D) --resume --log_interval=50 2>&1 | \
	  sed -u 's/^/$*: /'
	@touch $@

# These two run at the same time, the tunes as soon as their model is there. With one thread each
# they do not wait for each other's.
out/scaling/scaling.json: $(RUNS)
	OMP_NUM_THREADS=1 $(PY) fit_scaling.py $(RUNS:done=ckpt.pt)

samples/index.html: out/quick_best/done
	OMP_NUM_THREADS=1 $(PY) sample.py --ckpt=out/quick_best/best.pt --out_midi

test: $(READY)
	$(PY) -m pytest -q -n 2 --dist=worksteal

lint: $(READY)
	$(PY) -m ruff check .

clean:
	rm -rf data/bundled out/scaling out/.config $(NAMES:%=out/%)
	rm -f samples/[0-9]*.* samples/index.html samples/metrics.json
	@rmdir data out samples 2>/dev/null || true

.PHONY: all test lint clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:
