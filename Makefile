# Everything a contributor or CI runs. `make` alone lists the targets; the logic is in tools/.

PYTHON ?= python3
VENV := .venv/bin
# rustup's default place, for shells that were started before Rust was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin
# One Python for all cargo commands: with another one PyO3 would be built again.
export PYO3_PYTHON := $(CURDIR)/$(VENV)/python
# `value` hands the command on as it was typed, with its dollar signs.
export WARDIAN_DEMO_COMMAND := $(value CMD)
unexport CMD

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo guest build test lint format typecheck pytest cargo-test bench boots stress selftests \
	fuzz-cpu fuzz-blocks fuzz-boot fuzz-bus fuzz-faults fuzz-plant fuzz-streams clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## boot a stock Debian kernel; CMD="..." also runs a command in the guest
	@$(PYTHON) -m tools.demo

guest: ## put a kernel and a RAM disk with a shell under .cache/guest, to try things with
	@$(PYTHON) -m tools.guest

build: ## make .venv and build the core into it
	@$(PYTHON) -m tools.setup build

test: ## set up, lint, type-check and run every test
	@$(PYTHON) -m tools.setup test
	@$(MAKE) --no-print-directory lint typecheck cargo-test pytest

lint: ## check style and the direction of imports
	@$(PYTHON) -m tools.setup checks
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(VENV)/ruff check --quiet
	$(VENV)/ruff format --quiet --check
	PYTHONPATH=python $(VENV)/lint-imports --no-logo

format: ## rewrite sources in the agreed style
	@$(PYTHON) -m tools.setup checks
	cargo fmt --all
	$(VENV)/ruff check --quiet --fix
	$(VENV)/ruff format --quiet

typecheck: ## mypy --strict
	@$(PYTHON) -m tools.setup checks
	$(VENV)/mypy

cargo-test: ## the Rust tests only
	cargo test --quiet --workspace --exclude wardian-py

pytest: ## the Python tests only; ARGS="..." are pytest's
	@$(PYTHON) -m tools.setup test
	@$(VENV)/pytest $(ARGS)

bench: ## compare native, Wardian, QEMU TCG, User-Mode Linux; QUICK=1 for a look; ARGS="--help"
	@$(PYTHON) -m tools.setup bench
	@$(VENV)/python -m benches $(if $(QUICK),--quick) $(if $(SCALE),--scale $(SCALE)) \
		$(if $(RUNS),--runs $(RUNS)) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(SUBJECTS),--subjects $(SUBJECTS)) $(ARGS)

boots: ## boot the stock kernel COUNT=50 times in a row and count the clean boots
	@$(PYTHON) -m tools.setup build
	@$(VENV)/python -m tools.campaign.boots --count $(or $(COUNT),50)

stress: ## SECONDS=600 of stress-ng in a guest with CPUS=2; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup build
	@$(VENV)/python -m tools.campaign.stress --seconds $(or $(SECONDS),600) --cpus $(or $(CPUS),2) $(ARGS)

selftests: ## Linux's own x86 selftests in a guest; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup build
	@$(VENV)/python -m tools.campaign.selftests $(ARGS)

fuzz-cpu: ## one instruction at a time, host CPU against interpreter; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup checks
	cargo run --quiet --release -p wardian-fuzz-cpu -- $(ARGS)

fuzz-blocks: ## blocks of instructions, host CPU against translator; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup checks
	cargo run --quiet --release -p wardian-fuzz-cpu -- --blocks --engine translate $(ARGS)

fuzz-plant: ## plant ten wrong semantics in copies of the interpreter; fuzz-cpu must catch each
	@$(PYTHON) -m tools.setup checks
	fuzz/cpu/planted.sh $(ARGS)

fuzz-faults: ## plant faults in copies of the translator; the suite must catch each; ARGS="--help"
	@$(PYTHON) -m tools.setup checks
	$(VENV)/python -m fuzz.planted $(ARGS)

fuzz-boot: ## hostile kernels and initrds against the boot loaders; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup checks
	PYTHONPATH=python $(VENV)/python -m fuzz.boot $(ARGS)

fuzz-bus: ## random accesses to every port and register; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup build
	PYTHONPATH=python $(VENV)/python -m fuzz.bus $(ARGS)

fuzz-streams: ## random instructions at ring 0, a machine per seed; ARGS="--help" lists options
	@$(PYTHON) -m tools.setup build
	PYTHONPATH=python $(VENV)/python -m fuzz.streams $(ARGS)

clean: ## delete everything that was built or downloaded
	rm -rf .venv .cache target dist python/wardian/_core*.so
	rm -rf .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
