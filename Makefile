# Each target sets up what it needs and is quiet when there is nothing to do. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help run cluster test check setup web simulate bench bench-peers bench-fair bench-rooms bench-soak bench-cold bench-acks bench-rights cluster-faults chaos siege presence load image lock clean rolling

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 run"; exit 1; }
	@echo "· making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements-embedded.lock | $(VENV)/bin/python
	@echo "· installing what the server needs (once, about half a minute)"
	@$(PIP) --require-hashes -r requirements-embedded.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements.lock | $(VENV)/bin/python
	@echo "· installing what the tests need (once, about a minute)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --editable .
	@touch $@ $(VENV)/.run

setup: $(VENV)/.dev ## install everything that development needs
	@:

run: $(VENV)/.run ## run everything on this machine: http://127.0.0.1:8080/
	@if node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then $(MAKE) --no-print-directory web; fi
	@exec $(BIN)/collab-server dev

cluster: $(VENV)/.dev ## three servers behind a balancer, PostgreSQL, Redis and an S3 stand-in (TASKS=3 ROLLING_S=60)
	@if node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then $(MAKE) --no-print-directory web; fi
	@$(BIN)/python -m tests.services.ministack
	@exec $(BIN)/collab-server cluster --s3-stand-in .cache/ministack/bin/python $(if $(TASKS),--tasks $(TASKS)) \
	  $(if $(ROLLING_S),--rolling-restart-every $(ROLLING_S))

web/node_modules/.package-lock.json: web/package-lock.json
	@echo "· installing the editor's packages"
	@cd web && npm ci --silent --no-progress

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src -type f 2>/dev/null)
	@cd web && npm run --silent build

web: web/dist/index.html ## build the playground page
	@:

check: $(VENV)/.dev ## ruff, mypy, import rules, unsafe calls, secrets, Dockerfile
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit -q -r auth chaos cluster collab_server commands persistence presence rest_api -c pyproject.toml
	@git ls-files -z -- ':!*.lock' ':!*package-lock.json' | xargs -0 $(BIN)/detect-secrets-hook --baseline .secrets.baseline
	@$(BIN)/hadolint Dockerfile
	@$(MAKE) --no-print-directory web/node_modules/.package-lock.json && cd web && npm run --silent check

test: $(VENV)/.dev ## every test, on real parts
	@$(MAKE) --no-print-directory web
	@$(BIN)/python -m tests.services.ministack >/dev/null
	@$(BIN)/python -m tests.services.node >/dev/null
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

simulate: $(VENV)/.dev ## tasks through seeded interleavings of faults (KIND=cluster SEEDS=10000 FIRST=0 JOBS=2; SEED=4711 shows one)
	@$(BIN)/python -m tests.simulation --kind $(or $(KIND),storage) --seeds $(or $(SEEDS),10000) --first $(or $(FIRST),0) --jobs $(JOBS) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/.dev ## what one update costs, compared with bench/baseline.json
	@$(BIN)/python -m bench

bench-peers: $(VENV)/.dev ## the same load against other Yjs servers and ours (SCENARIO=a,c SERVER=ours,y-websocket RUNS=3 JSON=out.json SVG=out.svg)
	@$(BIN)/python -m bench.peers $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(SERVER),--server $(SERVER)) \
	  $(if $(RUNS),--runs $(RUNS)) $(if $(MEASURED_S),--seconds $(MEASURED_S)) \
	  $(if $(JSON),--json $(JSON)) $(if $(SVG),--svg $(SVG))

bench-fair: $(VENV)/.dev ## one who does not read, and one who floods: what others notice (RUNS=1)
	@$(BIN)/python -m bench.fairness $(if $(RUNS),--runs $(RUNS))

bench-rooms: $(VENV)/.dev ## an update beside ten thousand open rooms and beside ten (RUNS=20)
	@$(BIN)/python -m bench.rooms $(if $(RUNS),--runs $(RUNS))

bench-soak: $(VENV)/.dev ## a thousand people who come, type and leave: memory a minute (MINUTES=10)
	@$(BIN)/python -m bench.soak $(if $(MINUTES),--minutes $(MINUTES))

bench-cold: $(VENV)/.dev ## how long a document takes to open that nobody has open (RUNS=40)
	@$(BIN)/python -m bench.cold $(RUNS)

bench-acks: $(VENV)/.dev ## how long an acknowledgement takes, and what recording one update costs (RUNS=3)
	@$(BIN)/python -m bench.acks $(if $(RUNS),--runs $(RUNS))

bench-rights: $(VENV)/.dev ## how long a change of role takes on another task (TRIES=200)
	@RIGHTS_TRIES=$(or $(TRIES),200) $(BIN)/python -m pytest tests/journeys/test_live_rights.py -k within_a_second -q -s --timeout 900

cluster-faults: $(VENV)/.dev ## two tasks with Redis, the network between them and people's networks broken in all ways, for minutes (F03 F04 F09 F13 F14 F20)
	@COLLAB_TEST_CLUSTER=large $(BIN)/python -m pytest tests/journeys/test_cluster_faults.py tests/journeys/test_cluster_clients.py -s -p no:cacheprovider

rolling: $(VENV)/.dev ## restart three servers in turn under stock clients who type (CLIENTS=2000 TASKS=3 EDIT_S=10; KILL=1 kills one)
	@$(BIN)/python -m bench.rolling $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(TASKS),--tasks $(TASKS)) \
	  $(if $(EDIT_S),--edit-every $(EDIT_S)) $(if $(KILL),--kill)

chaos: $(VENV)/.run ## break a server while clients write: is anything acknowledged lost? (ROUNDS=200 FAULTS=sigkill SEED=7 PEER=hocuspocus)
	@$(BIN)/collab-server chaos $(if $(PEER),--target $(PEER)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(FAULTS),--faults $(FAULTS)) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON))

siege: $(VENV)/.dev ## hostile updates in bulk at a socket, while honest people write (MUTATED=300000 FORGED=50000 SEED=1 MINUTES=10)
	@nice $(BIN)/python -m tests.corpus.siege $(if $(MUTATED),--mutated $(MUTATED)) $(if $(FORGED),--forged $(FORGED)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

presence: $(VENV)/.dev ## kill a task with everybody on it: when is presence right everywhere? (MEMBERS=500)
	@MEMBERS=$(or $(MEMBERS),500) $(BIN)/python -m pytest tests/journeys/test_presence.py -k kill -q -s

load: $(VENV)/.dev ## a short load run against a server of its own, with an HTML report (SCENARIO=pairs)
	@$(BIN)/python -m loadtests --scenario $(or $(SCENARIO),smoke)

image: $(VENV)/.dev ## build the container image, without a Docker engine too, and start it once
	@PYTHON=$(BIN)/python infra/image/build

lock: ## pin every dependency with its hashes (needs uv)
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes -q --upgrade -o requirements-runtime.lock
	@uv pip compile pyproject.toml --extra embedded --group build --universal --python-version 3.11 --generate-hashes -q --upgrade -o requirements-embedded.lock
	@uv pip compile --group pyproject.toml:build --constraint requirements-embedded.lock --universal --python-version 3.11 --generate-hashes -q --upgrade -o infra/image/requirements-build.lock
	@uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes -q --upgrade -o requirements.lock

clean: ## remove what the targets made (keeps .data)
	@rm -rf $(VENV) .cache web/dist web/node_modules tests/interop/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
