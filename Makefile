# One command each from a fresh clone; needs python3 (3.10 or later), python3-venv, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# percent of src's lines and branches that the unit and property tests reach, at least
COVERAGE ?= 95
TALLY := .cache/tally
TRACING := tests/unit/journal/test_writer_interleavings.py
# options for `auditwire demo`, for pytest in `make test`, or for libFuzzer in `make fuzz`
ARGS ?=
# how long `make fuzz` makes up values
MINUTES ?= 5

.DEFAULT_GOAL := help
.PHONY: help demo test chaos soak fuzz bench bench-docs bench-guard bench-idle bench-latency bench-parts bench-read bench-scaling check docs format clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-13s %s\n", $$1, $$2 }'

demo: $(VENV)/.cli ## a small agent, its events on a broker, and the proof that none is missing (ARGS="--help")
	@$(BIN)/auditwire demo $(ARGS)

test: $(VENV)/.dev ## all tests, on the best broker that this machine has
	@mkdir -p $(dir $(TALLY))
	@rm -f $(TALLY) .coverage .coverage.*
	@echo "== unit and property tests =="
	@AUDITWIRE_TEST_TALLY=$(TALLY) $(BIN)/coverage run -m pytest tests/unit --ignore $(TRACING) $(ARGS)
	@echo "== tests that trace byte codes themselves, and so are not measured =="
	@AUDITWIRE_TEST_TALLY=$(TALLY) $(BIN)/python -m pytest $(TRACING) $(ARGS)
	@$(BIN)/coverage combine -q
	@echo "== branch coverage of src by the unit and property tests =="
	@$(BIN)/coverage report --fail-under=$(COVERAGE)
	@echo "== integration tests =="
	@AUDITWIRE_TEST_TALLY=$(TALLY) $(BIN)/python -m pytest tests/integration tests/rig $(ARGS)

chaos: $(VENV)/.dev ## every fault on three brokers in containers, and the table (ARGS="--fault-table FILE")
	@AUDITWIRE_TEST_TIER=container $(BIN)/python -m pytest tests/integration/test_chaos.py --all-faults $(ARGS)

soak: $(VENV)/.dev ## half an hour of events and random faults: nothing lost, nothing grows (ARGS="--minutes 3")
	@$(BIN)/python -m benchmarks.soak $(ARGS)

fuzz: $(VENV)/.fuzz ## values that a machine makes up, for the decoder (MINUTES=5); what fails is kept in .cache/found
	@mkdir -p .cache/fuzz .cache/found
	@PYTHONPATH=tests $(BIN)/python tests/fuzz/fuzz_wire.py -max_total_time=$$(($(MINUTES) * 60)) \
		-artifact_prefix=.cache/found/ $(ARGS) .cache/fuzz tests/fuzz/corpus

bench: $(VENV)/.bench ## what an event costs on its way to Kafka, beside other ways, in one run (ARGS="--rounds 3")
	@$(BIN)/python -m benchmarks.emit $(ARGS)

bench-docs: $(VENV)/.bench ## all of these, and their figures into the guide on speed and the README; an hour
	@$(BIN)/python -m benchmarks.emit --markdown docs/guides/speed.md --markdown README.md --svg docs/guides/speed.svg
	@$(BIN)/python -m benchmarks.parts --markdown docs/guides/speed.md
	@$(BIN)/python -m benchmarks.latency --markdown docs/guides/speed.md
	@$(BIN)/python -m benchmarks.scaling --markdown docs/guides/speed.md
	@$(BIN)/python -m benchmarks.idle --markdown docs/guides/speed.md
	@$(BIN)/python -m benchmarks.reading --rounds 3 --markdown docs/guides/speed.md

bench-guard: $(VENV)/.dev ## whether the way of an event has become dearer; CI runs it (ARGS="--step-back" shows that it fails)
	@$(BIN)/python -m benchmarks.guard $(ARGS)

bench-idle: $(VENV)/.dev ## what it costs to be there: import, threads, memory, CPU without events
	@$(BIN)/python -m benchmarks.idle $(ARGS)

bench-latency: $(VENV)/.dev ## how long an emit takes, and how long until its record is acknowledged
	@$(BIN)/python -m benchmarks.latency $(ARGS)

bench-parts: $(VENV)/.dev ## where the microseconds of an event go
	@$(BIN)/python -m benchmarks.parts $(ARGS)

bench-scaling: $(VENV)/.dev ## the cost of an event with more threads, processes, bytes, sessions
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

bench-read: $(VENV)/.bench ## reading back beside other ways, in one run (ARGS="--records 5000000")
	@$(BIN)/python -m benchmarks.reading $(ARGS)

check: $(VENV)/.dev ## lint, format, types, order of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.docs ## the documentation site, into .cache/site; a broken link fails it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.dev ## put the code into the form that `make check` wants
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

clean: ## remove what the other targets made; container images stay
	rm -rf $(VENV) .cache .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Two stamps in one environment: the demo need not wait for the tools of the tests.
$(VENV)/.cli: pyproject.toml | $(VENV)/bin/pip
	@echo "installing auditwire[cli] into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[cli]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/pip
	@echo "installing auditwire[dev] into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.cli

$(VENV)/.bench: pyproject.toml | $(VENV)/bin/pip
	@echo "installing auditwire[bench] into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[bench]'
	@touch $@ $(VENV)/.dev $(VENV)/.cli

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/pip
	@echo "installing auditwire[docs] into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

$(VENV)/.fuzz: pyproject.toml | $(VENV)/bin/pip
	@echo "installing auditwire[fuzz] into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	@touch $@

$(VENV)/bin/pip:
	@$(PYTHON) -m venv $(VENV)
