# Two commands do all on a fresh machine with git, make and Python: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check docs torture format clean

demo: $(READY)  ## make demo/index.html, offline; make demo VIDEO=my.mp4 shows your own film on it
	$(BIN)/muybridge demo $(if $(VIDEO),"$(VIDEO)") -o demo

test: $(READY)  ## run all tests, warnings as errors
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)  ## style, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(READY)  ## build the documentation site into site/, warnings as errors
	$(BIN)/python .ci/build_docs.py

torture: $(READY)  ## broken and hostile files for every reader; make torture COUNT=1000 TARGETS="recognizer style"
	$(BIN)/python -m torture $(TARGETS) --count $(or $(COUNT),300) --keep torture-faults

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[log,mat,onnx,parquet,ray,serve,shots]" --group dev --group docs
	touch $(READY)

clean:
	rm -rf $(VENV) demo site docs/reference
