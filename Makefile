# `make help` lists the targets. PYTHON=... chooses the interpreter that .venv is made with.

.DEFAULT_GOAL := help

PYTHON ?= $(shell for v in 3.13 3.12 3.11; do \
	python$$v -c '' 2>/dev/null && echo python$$v && exit; done; echo python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

WITH_TORCH := .venv/.installed-torch

WITH_LIBTPU := .venv/libtpu

WITH_CUDA := .venv/.installed-cuda

WITH_DOCS := .venv/.installed-docs

OLDEST := .venv/oldest
OLDEST_EXTRAS := dev,hdf5,netcdf,onnx,video,zarr
# The extra `torch` but for torch itself, whose wheel for CUDA has 700 MB.
OLDEST_OF_TORCH := fvcore safetensors

QUICK := "not long and not torch and not tpu and not gpu and not wheel and not fuzz"

.PHONY: help demo test test-long test-torch test-tpu test-gpu test-wheel test-fuzz test-oldest docs lint install clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "PYTHON=...       the interpreter for .venv; default: the newest of python3.13, 3.12, 3.11 that runs"

demo: install  ## show forecasts of a network that ships trained, then train and evaluate a small one (8 minutes on two cores)
	@echo "demo, 1 of 2: the shipped network moving_mnist forecasts ten frames of digits that it has never seen (half a minute)"
	$(BIN)/stlight predict examples/data/moving_digits_64.gif --model=moving_mnist --start=-10 --show \
		--out=runs/demo_forecast.gif --overwrite
	@echo "demo: the last rows above are the input, the true next frames and the forecast of them"
	@echo "demo: open runs/demo_forecast.html in a browser to see all frames move"
	@echo "demo, 2 of 2: train the network tiny from scratch and evaluate it (some minutes); all files go to runs/demo"
	$(BIN)/python train.py --config=configs/moving_mnist.py:tiny --workdir=runs/demo
	$(BIN)/python eval.py --workdir=runs/demo
	@echo "demo: open runs/demo/eval/report.html in a browser to see the forecasts move"

test: install  ## run the test suite (ten minutes at most on two cores)
	$(BIN)/python -m pytest -m $(QUICK) -n 2 --dist worksteal

test-long: install  ## run the long tests (about an hour on two cores)
	$(BIN)/python -m pytest -m "long and not torch and not tpu and not gpu and not wheel and not fuzz" -n 2 --dist worksteal

test-torch: $(WITH_TORCH)  ## run the tests that need PyTorch, and install it (TORCH=torch==X.Y chooses the version)
	$(BIN)/python -m pytest -m torch

test-tpu: $(WITH_LIBTPU)  ## compile for TPU slices with libtpu, and install it (700 MB); needs no TPU
	PYTHONPATH=$(WITH_LIBTPU) $(BIN)/python -m pytest -m tpu

test-gpu: $(WITH_CUDA)  ## run the tests that need an NVIDIA GPU, and install JAX for CUDA
	STLIGHT_TEST_PLATFORMS=cuda,cpu $(BIN)/python -m pytest -m gpu

test-wheel: install  ## build the wheel and the sdist, install each into a fresh environment and use it (minutes)
	$(BIN)/python -m pytest -m wheel

test-fuzz: install  ## read 9500 damaged files, and 500 of weights where PyTorch is installed (minutes)
	$(BIN)/python -m pytest -m fuzz

test-oldest: install  ## run the readers' and the network's tests with all lower bounds but torch's, on Python 3.11 (minutes)
	python3.11 -m venv --clear $(OLDEST)
	$(BIN)/python -m tests.lower_bounds $(OLDEST_EXTRAS),torch > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(OLDEST)/constraints.txt -e ".[$(OLDEST_EXTRAS)]" $(OLDEST_OF_TORCH)
	$(OLDEST)/bin/python -m pytest -m $(QUICK) -n 2 --dist worksteal tests/data tests/fuzz tests/model tests/torch_reference

docs: $(WITH_DOCS)  ## build the documentation site, and install Sphinx; open docs/_build/index.html
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build
	@echo "docs: open docs/_build/index.html in a browser"

lint: install  ## run the linter, the formatter and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)  ## make .venv and install the package and its development tools into it

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo missing); expected Python 3.11 or newer; set PYTHON=..."; exit 2; }
	@echo "installing into .venv with $(PYTHON) (a few minutes, once) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

# A wheel marked +cpu saves gigabytes, but pip does not prefer it.
$(WITH_TORCH): $(INSTALLED)
	@wanted="$(TORCH)"; [ -n "$$wanted" ] || wanted=torch$$($(BIN)/python -m pip index versions torch 2>/dev/null | \
		sed -n 's/.*[ ,]\([0-9.]*+cpu\).*/==\1/p' | head -1); \
	echo "installing $$wanted into .venv ..."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$wanted" && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,torch]"
	@touch $@

$(WITH_CUDA): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,gpu]"
	@touch $@

$(WITH_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,docs]"
	@touch $@

# A folder of its own, because JAX looks for a TPU at every start (up to a minute) where it finds libtpu.
$(WITH_LIBTPU): $(INSTALLED)
	@wanted="$$($(BIN)/python -c 'import importlib.metadata as m; \
		print(*(r.split(";")[0] for r in m.requires("jax") if r.startswith("libtpu")))')"; \
	echo "installing $$wanted into $@ ..."; \
	rm -rf $@ && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ "$$wanted"
	@touch $@

clean:  ## remove .venv, the site and the files of the demo
	rm -rf .venv runs/demo runs/demo_forecast.* docs/_build
