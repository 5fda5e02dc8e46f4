# make demo        train a small network on Moving MNIST and look at its predictions (8 minutes on two cores)
# make test        the test suite (under ten minutes on two cores)
# make test-long   what takes longer
# make lint        linter and formatter, as .ci/run runs them
# make clean       remove .venv and the demo's run
# PYTHON=...       which interpreter .venv is made with; by default the newest of 3.13, 3.12, 3.11 that runs

PYTHON ?= $(shell for v in 3.13 3.12 3.11; do \
	python$$v -c '' 2>/dev/null && echo python$$v && exit; done; echo python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-long lint install clean

demo: install
	@echo "demo: training the tiny network, then evaluating it; everything goes to runs/demo"
	$(BIN)/python train.py --config=configs/moving_mnist.py:tiny --workdir=runs/demo
	$(BIN)/python eval.py --workdir=runs/demo

test: install
	$(BIN)/python -m pytest -m "not long" -n 2 --dist worksteal

test-long: install
	$(BIN)/python -m pytest -m long

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo not there); Python 3.11 or newer is needed (PYTHON=...)"; exit 2; }
	@echo "installing into .venv with $(PYTHON) (a few minutes, once) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv runs/demo
