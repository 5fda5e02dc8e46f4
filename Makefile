# make demo        train a small network on Moving MNIST and look at its predictions (8 minutes on two cores)
# make test        the test suite (ten minutes at most on two cores)
# make test-long   what takes longer (an hour or more)
# make test-torch  what needs PyTorch, which it installs: the CPU build where the package index has one (TORCH=torch==X.Y)
# make test-tpu    compiles for TPU slices with libtpu, which it installs (700 MB); no TPU is needed
# make test-gpu    what needs an NVIDIA GPU: the same numbers there as on a CPU (installs JAX for CUDA)
# make lint        linter, formatter and type checker, as .ci/run runs them
# make clean       remove .venv and the demo's run
# PYTHON=...       which interpreter .venv is made with; by default the newest of 3.13, 3.12, 3.11 that runs

PYTHON ?= $(shell for v in 3.13 3.12 3.11; do \
	python$$v -c '' 2>/dev/null && echo python$$v && exit; done; echo python3)
BIN := .venv/bin
INSTALLED := .venv/.installed

WITH_TORCH := .venv/.installed-torch

WITH_LIBTPU := .venv/libtpu

WITH_CUDA := .venv/.installed-cuda

.PHONY: demo test test-long test-torch test-tpu test-gpu lint install clean

demo: install
	@echo "demo: training the tiny network, then evaluating it; everything goes to runs/demo"
	$(BIN)/python train.py --config=configs/moving_mnist.py:tiny --workdir=runs/demo
	$(BIN)/python eval.py --workdir=runs/demo
	@echo "demo: open runs/demo/eval/report.html in a browser to see it move"

test: install
	$(BIN)/python -m pytest -m "not long and not torch and not tpu and not gpu" -n 2 --dist worksteal

test-long: install
	$(BIN)/python -m pytest -m "long and not torch and not tpu and not gpu"

test-torch: $(WITH_TORCH)
	$(BIN)/python -m pytest -m torch

test-tpu: $(WITH_LIBTPU)
	PYTHONPATH=$(WITH_LIBTPU) $(BIN)/python -m pytest -m tpu

test-gpu: $(WITH_CUDA)
	STLIGHT_TEST_PLATFORMS=cuda,cpu $(BIN)/python -m pytest -m gpu

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1 || echo not there); Python 3.11 or newer is needed (PYTHON=...)"; exit 2; }
	@echo "installing into .venv with $(PYTHON) (a few minutes, once) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

# A wheel marked +cpu saves gigabytes, but pip does not prefer it by itself.
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

# In a folder of its own: where JAX finds libtpu and no TPU, every start looks for one, which can take a minute.
$(WITH_LIBTPU): $(INSTALLED)
	@wanted="$$($(BIN)/python -c 'import importlib.metadata as m; \
		print(*(r.split(";")[0] for r in m.requires("jax") if r.startswith("libtpu")))')"; \
	echo "installing $$wanted into $@ ..."; \
	rm -rf $@ && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ "$$wanted"
	@touch $@

clean:
	rm -rf .venv runs/demo
