# `make demo` shows the whole system on this machine, `make test` proves it. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := agent calibration drivers ingester link metering settings simulators tanbiao
INSTALLED := $(VENV)/.installed
PORT ?= 8080

.PHONY: demo test unit wheel-test nightly lint bench install servers requirements clean

demo: install
	@exec $(BIN)/tanbiao demo --port $(PORT)

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements/dev.txt
	@sh tests/setup/venv.sh $(PYTHON) $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

servers: install
	@sh tests/setup/servers.sh
	@sh tests/setup/node.sh $(VENV)

test: install servers lint unit wheel-test

PURE := tests/metering tests/calibration tests/settings

unit: install
	$(BIN)/coverage run -m pytest $(PURE)
	@$(BIN)/coverage report --fail-under=95 --include='metering/*,calibration/*'
	$(BIN)/pytest -n 2 $(PURE:%=--ignore=%) tests

# The same tests once more against the wheel, from a folder without the sources: a file missing from it is noticed.
wheel-test: install
	@sh tests/setup/wheel.sh $(PYTHON) $(VENV)

nightly: install servers
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	TANBIAO_NIGHTLY=1 $(BIN)/pytest -n 2 --timeout 3600 tests

lint: install
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --verbose-errors 2>/dev/null || $(BIN)/lint-imports

bench: install servers
	@$(BIN)/python bench/run.py

# Pins with hashes for all platforms and no index address; needs uv.
requirements:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml \
	    --extra dev --extra postgres --extra pdf -o requirements/dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml \
	    --extra server --extra opcua -c requirements/dev.txt -o requirements/server.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml \
	    -c requirements/dev.txt -o requirements/agent.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml \
	    --extra fuzz -c requirements/dev.txt -o requirements/fuzz.txt

clean:
	rm -rf $(VENV) build dist data .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
