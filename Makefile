# Everything needs only Python 3.11 with venv, and make.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8000
TORCH ?= -r requirements/torch.txt
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
export PORT

.PHONY: help run ocr test test-postgres lint lock reset bench bench-peers soak gpu weights clean-venv
help:  ## Shows this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.venv/torch.stamp: requirements/torch.txt
	@$(PYTHON) -c 'import sys; sys.exit("Tessera needs Python 3.11 or newer: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@echo "Setting up .venv, once: torch, then the pinned packages. This takes a few minutes."
	$(PYTHON) -m venv .venv
	$(PIP) install -q $(TORCH)
	@touch $@

.venv/app.stamp: .venv/torch.stamp requirements/lock.txt
	$(PIP) install -q --require-hashes -r requirements/lock.txt
	@touch $@

.venv/dev.stamp: .venv/app.stamp requirements/dev-lock.txt requirements/ocr-lock.txt
	$(PIP) install -q --require-hashes -r requirements/lock.txt -r requirements/dev-lock.txt -r requirements/ocr-lock.txt
	@touch $@

weights: .venv/app.stamp  ## Fetches and verifies the weights of the settings.
	$(BIN)/python manage.py models fetch

run: .venv/app.stamp weights  ## Sets everything up and starts the product with demo data.
	@exec $(BIN)/python manage.py serve --demo

test: .venv/dev.stamp lint  ## Sets everything up and runs the tests.
	$(BIN)/python manage.py models fetch all-MiniLM-L6-v2 smollm2-135m-instruct
	$(BIN)/pytest -m "not browser and not postgres and not redis and not qwen and not slow" $(ARGS)

ocr: .venv/app.stamp  ## Installs text recognition for scanned pages (270 MB).
	$(PIP) install -q --require-hashes -r requirements/ocr-lock.txt

lint: .venv/dev.stamp  ## Style, types and the import contract.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: .venv/dev.stamp  ## Writes the lock files anew from requirements/*.in.
	$(PIP) install -q pip-tools
	for name in app:lock dev:dev-lock ocr:ocr-lock; do \
	  (cd requirements && ../$(BIN)/pip-compile -q --generate-hashes --unsafe-package torch --strip-extras --no-header \
	    --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    -o $${name#*:}.txt $${name%:*}.in) || exit 1; \
	  sed -i '/^# WARNING/,$$d' requirements/$${name#*:}.txt; \
	  sed -i '1i # Made by `make lock` from the .in files. torch is in torch.txt.' requirements/$${name#*:}.txt; \
	done

bench: .venv/dev.stamp weights  ## Runs the benchmarks; results go to benchmarks/results/.
	$(BIN)/python -m benchmarks.first_token

bench-peers:  ## Installs the engines that ours is measured against, each in an environment of its own.
	for name in vllm llamacpp transformers; do \
	  $(PYTHON) -m venv .venv-peers/$$name && \
	  .venv-peers/$$name/bin/pip install -q -r requirements/torch.txt && \
	  .venv-peers/$$name/bin/pip install -q -r benchmarks/engine/peers/$$name.txt || exit 1; \
	done
	.venv-peers/vllm/bin/pip uninstall -q -y torchvision torchaudio torchcodec  # builds for CUDA, not needed for text

soak: .venv/dev.stamp  ## Mixed traffic for 20 minutes (SOAK_MINUTES), then 100 kills of each kind (SOAK_KILLS).
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.faults
	TESSERA_TEST_MOMENTS=all $(BIN)/pytest tests/faults/test_kills_at_each_moment.py

gpu: .venv/dev.stamp  ## Runs the checks that need a CUDA device; says so when there is none.
	$(BIN)/python -m benchmarks.gpu

reset:  ## Forgets everything under var/.
	@$(PYTHON) -c 'import fcntl, os; os.path.exists("var/serve.lock") and fcntl.flock(open("var/serve.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
	  2>/dev/null || { echo "Tessera runs on var/. Stop it first (Ctrl-C)."; exit 1; }
	rm -rf var
