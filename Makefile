# `make help` lists the targets. Needs Python 3.11, 3.12 or 3.13 with pip; everything else is installed from
# requirements.lock into .venv. Works from any directory with `make -C`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory --no-builtin-rules
ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin

# Nothing that is run from here reports to its makers, and all of it sees the same folder.
export DAGSTER_DISABLE_TELEMETRY := yes
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export PYTHONUNBUFFERED := 1

# The first Python that will do; `make PYTHON=/path/to/python …` names one.
define find_python
for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11 python; do \
	if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then \
		echo "$$candidate"; exit 0; \
	fi; \
done; \
echo "no Python 3.11, 3.12 or 3.13 found: install one, or name it with make PYTHON=/path/to/python" >&2; \
exit 3
endef

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' "$(ROOT)/Makefile"

.PHONY: install
install: ## Make .venv from requirements.lock (done by every target that needs it)
	@python=$$($(find_python)) && "$$python" "$(ROOT)/tools/bootstrap.py"

.PHONY: demo
demo: install ## Materialise the three products and show what was published
	@cd "$(ROOT)" && "$(BIN)/python" products/customer_360/generate_inputs.py
	@cd "$(ROOT)" && "$(BIN)/dp" run --all
	@echo "dp is in .venv/bin; make dev shows these runs in the Dagster UI."

.PHONY: dev
dev: install ## Start the Dagster UI and its daemon on http://127.0.0.1:3000
	@cd "$(ROOT)" && "$(BIN)/python" products/customer_360/generate_inputs.py
	@cd "$(ROOT)" && exec "$(BIN)/dp" dev $(ARGS)

.PHONY: test
test: install ## Run all tests; installs Chromium and PostgreSQL for them where it may
	@"$(BIN)/python" "$(ROOT)/tests/system_packages.py" --install
	@cd "$(ROOT)" && "$(BIN)/python" -m pytest -n 3 --dist loadfile $(ARGS)

.PHONY: test-fast
test-fast: install ## Run the tests that start no other processes: a minute or two
	@cd "$(ROOT)" && "$(BIN)/python" -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

.PHONY: lint
lint: install ## Check style, format and types
	@cd "$(ROOT)" && "$(BIN)/ruff" check .
	@cd "$(ROOT)" && "$(BIN)/ruff" format --check .
	@cd "$(ROOT)" && "$(BIN)/mypy"

.PHONY: format
format: install ## Format the code and mend what can be mended
	@cd "$(ROOT)" && "$(BIN)/ruff" format .
	@cd "$(ROOT)" && "$(BIN)/ruff" check --fix .

.PHONY: bench
bench: install ## Run the benchmarks, each as a ratio to plain code in the same run
	@cd "$(ROOT)" && "$(BIN)/python" -m benchmarks $(ARGS)

.PHONY: docs
docs: install ## Make the reference pages in docs/ again, from the code
	@cd "$(ROOT)" && "$(BIN)/python" tools/reference.py

.PHONY: screenshots
screenshots: install ## Make the pictures of the README again, from the running UI
	@"$(BIN)/python" "$(ROOT)/tests/system_packages.py" --install
	@cd "$(ROOT)" && "$(BIN)/python" tools/screenshots.py

# The resolver has an environment of its own, so that .venv holds nothing but what the lock says.
LOCKER := $(ROOT)/.dp/locker
.PHONY: lock
lock: ## Resolve requirements.lock again (make lock UPGRADE=1 for the newest versions)
	@python=$$($(find_python)) && "$$python" -m venv --clear "$(LOCKER)"
	@"$(LOCKER)/bin/python" -m pip install --quiet --disable-pip-version-check uv
	@cd "$(ROOT)" && UV_SYSTEM_CERTS=1 "$(LOCKER)/bin/uv" pip compile pyproject.toml --all-extras --group dev \
		--universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade) --output-file requirements.lock
	@rm -rf "$(LOCKER)"

.PHONY: wheel
wheel: install ## Build the wheel into dist/
	@cd "$(ROOT)" && "$(BIN)/python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --wheel-dir dist .

.PHONY: clean
clean: ## Remove data, run history, caches and builds; .venv stays
	@cd "$(ROOT)" && rm -rf data .dp build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		dbt_project/target dbt_project/logs products/*/data
	@cd "$(ROOT)" && find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
