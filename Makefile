# The commands of Sightline, for people and for CI alike.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Where this is set, each of the many programs that the tests and the demo start compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train ultralytics demo test test-browser test-long test-faults soak lint format bench lock wheel clean

demo: $(VENV)/.ready  ## four cameras, Triton, console; Ctrl-C stops everything
	@$(BIN)/sightline demo $(ARGS)

# Each test is in one of four: most of what they take they wait, so there are more processes than cores.
test: $(VENV)/.ready  ## the tests, with the real parts: about twenty minutes on two cores
	@$(BIN)/pytest -n 4 -m "not long and not browser and not fault" $(ARGS)

test-browser: $(VENV)/.ready  ## the console in a headless Chromium; a third process makes all of them slower
	@$(BIN)/pytest -n 2 -m browser $(ARGS)

# Tests whose truth holds only while a real detector keeps up with its cameras have the machine to themselves.
# With a path in ARGS, one of the two may find no test: pytest's status 5.
test-long: $(VENV)/.ready  ## load tests, the self-test as a whole, the wheel in a fresh environment: some minutes more
	@$(BIN)/pytest -n 3 -m "long and not fault and not alone" $(ARGS) || [ $$? -eq 5 ]
	@$(BIN)/pytest -m "long and alone" $(ARGS) || [ $$? -eq 5 ]

test-faults: $(VENV)/.ready  ## every fault of docs/reliability.md provoked, long ones included
	@$(BIN)/pytest -n 4 -m fault $(ARGS)

soak: $(VENV)/.ready  ## forty minutes: fuzz, sixty dead cameras, then four cameras: drops and memory; ARGS='--minutes 60 --cameras 16'
	@SIGHTLINE_FUZZ_S=120 $(BIN)/pytest tests/faults/test_fuzz.py tests/supervisor/test_reloads_and_counts.py \
	  tests/analysis tests/store/test_sums.py
	@SIGHTLINE_DEAD_MINUTES=10 $(BIN)/pytest tests/faults/test_dead_cameras.py
	@$(BIN)/python tools/bench/soak.py $(ARGS)

lint: $(VENV)/.ready  ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.ready
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: $(VENV)/.ready  ## pipeline against the bare engine and the Ultralytics loop
	@$(BIN)/python tools/bench/benchmark.py

ultralytics: $(VENV)/.ready  ## Ultralytics (AGPL-3.0) in an environment of its own, for .pt files and the benchmark
	@$(BIN)/python -m sightline.models.export.ultralytics_env

TRAIN := .venv-train/bin/python
ARTIFACTS := artifacts/detector
train: $(VENV)/.ready  ## the bundled detector anew, from nothing: hours on two cores; see docs/detector.md
	@test -x $(TRAIN) || $(PYTHON) -m venv .venv-train
	@$(TRAIN) -m pip install -q --disable-pip-version-check -r tools/training/requirements.in
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib") + "\n$(CURDIR)/client")' \
		> $$($(TRAIN) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/sightline.pth
	@$(TRAIN) -m pytest -q tests/simulation/test_bundled.py
	@$(BIN)/python tools/training/generate.py $(ARTIFACTS)
	@$(BIN)/python tools/training/generate.py $(ARTIFACTS) --set heldout
	@$(TRAIN) tools/training/fit.py $(ARTIFACTS)/train $(ARTIFACTS)/run $(ARGS)
	@$(TRAIN) tools/training/to_onnx.py $(ARTIFACTS)/run/checkpoint.pt $(ARTIFACTS)/sightline.onnx
	@$(BIN)/python tools/training/heldout.py $(ARTIFACTS)/sightline.onnx $(ARTIFACTS)/heldout

lock: $(VENV)/.ready  ## resolve the dependencies anew, with hashes
	@$(BIN)/uv pip compile -q --generate-hashes --universal --no-header --python-version 3.11 \
		--extra postgres --extra console --extra draw --extra models --extra scenes --extra selftest --extra alerts \
		--extra kafka --extra mqtt --extra s3 --extra oidc --extra dev pyproject.toml -o requirements/dev.txt
	@$(BIN)/uv pip compile -q --generate-hashes --universal --no-header --python-version 3.11 \
		-c requirements/dev.txt requirements/build.in -o requirements/build.txt
	@$(BIN)/uv pip compile -q --generate-hashes --universal --no-header --python-version 3.11 \
		--extra postgres --extra console --extra draw --extra cuda --extra nvdec --extra alerts --extra kafka \
		--extra mqtt --extra s3 --extra oidc pyproject.toml -o requirements/image.txt
	@$(BIN)/uv pip compile -q --generate-hashes --universal --no-header --python-version 3.11 --no-deps --no-annotate \
		client/sightline/serving/data/triton.in -o client/sightline/serving/data/triton.txt
	@$(BIN)/uv pip compile -q --generate-hashes --universal --no-header --python-version 3.11 --no-deps --no-annotate \
		tools/load/perf.in -o tools/load/perf.txt
	@$(BIN)/uv pip compile -q --generate-hashes --universal --no-header --python-version 3.11 --no-deps --no-annotate \
		client/sightline/serving/data/rtx.in -o client/sightline/serving/data/rtx.txt

# The environment is made once and again when the lock changes.
$(VENV)/.ready: requirements/dev.txt requirements/build.txt pyproject.toml
	@echo "environment: installing the locked packages into $(VENV) (once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Sightline needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/build.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync -q --require-hashes requirements/dev.txt requirements/build.txt
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install -q --no-deps --no-build-isolation -e .
	@touch $@

wheel: $(VENV)/.ready  ## the wheel, in dist/
	@$(BIN)/uv build -q --wheel --no-build-isolation --python $(BIN)/python --out-dir dist .

clean:  ## remove what was built here
	@rm -rf $(VENV) .sightline artifacts build dist .pytest_cache .mypy_cache .ruff_cache
