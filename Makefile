# Everything a person runs; every target sets up what it needs. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled when they are first imported; most never are.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile
STAMP := $(VENV)/.installed
PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.installed
DEMO := runs/demo
# JAX compiles on every core it sees; two test processes keep two cores busy.
JOBS ?= 2

.PHONY: help demo test check proof benchmark clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) --constraint constraints.txt "torch==2.13.0"
	$(INSTALL) --constraint constraints.txt --editable ".[all,dev]"
	touch $(STAMP)

demo: $(STAMP) ## Train the fruit agent in three frameworks, prove them equal, write the page
	rm -rf $(DEMO)
	$(BIN)/triptych compare fruit --set task.grid=10 --out $(DEMO)

test: $(STAMP) browser octave ## Run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(STAMP) ## Format, lint, types, import arrows, import cost
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

proof: $(STAMP) ## The long proofs; writes docs/results (about nine hours on two cores)
	$(BIN)/python benchmarks/proof.py
	$(BIN)/python benchmarks/moved_run.py
	$(BIN)/python benchmarks/eject_proof.py --out docs/results/eject.json
	$(BIN)/python benchmarks/architectures.py
	$(BIN)/python benchmarks/curves.py
	$(BIN)/python -m triptych.testing.faults --out docs/results/faults.json

.PHONY: $(PEERS)
$(PEERS): $(PEERS_STAMP) # The peers' environment alone

$(PEERS_STAMP): pyproject.toml constraints.txt benchmarks/peers-constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt "torch==2.13.0"
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt \
	  --constraint benchmarks/peers-constraints.txt stable-baselines3 sbx-rl --editable ".[atari]"
	touch $(PEERS_STAMP)

benchmark: $(STAMP) $(PEERS_STAMP) ## Time training against peers; writes docs/results/benchmark.json
	$(BIN)/python benchmarks/benchmark.py --out docs/results/benchmark.json

.PHONY: browser
browser: # Headless Chromium, which one test renders the page in
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	     && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	|| echo "no Chromium found: install it (Debian: apt-get install chromium) to run the browser test"

.PHONY: octave
octave: # GNU Octave, which runs exported MATLAB code in the tests
	@command -v octave-cli octave >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
	     && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends octave >/dev/null; } \
	|| echo "no Octave found: install it (Debian: apt-get install octave) to run the MATLAB tests"

clean: ## Remove the environment and everything made
	rm -rf $(VENV) $(PEERS) build dist runs .pytest_cache .mypy_cache .ruff_cache
