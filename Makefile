# Every target makes its own virtual environment when there is none; VENV=... uses another one.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.kbroker-ready

.DEFAULT_GOAL := help
.PHONY: help run test compat compat-toolchains lint format bench bench-quick bench-peers kill chaos sim container clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	touch $@

run: $(READY) ## start a broker on 127.0.0.1:9092, data in ./kbroker-data
	$(BIN)/kbroker serve

test: $(READY) ## all tests, end-to-end ones with real clients included
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The page is written from a run that failed, too: it says what did.
compat-toolchains: $(READY)
	for extra in $$($(BIN)/python -m compat.toolchains); do \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$$extra]"; done

compat: compat-toolchains ## real clients and tools against Apache Kafka and kbroker, into docs/COMPATIBILITY.md (Java, Maven; Node, Go, kcat, etcd)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest compat --results build/compat/results.json $(COMPAT_ARGS); outcome=$$?; \
	$(BIN)/python -m compat.table build/compat/results.json && exit $$outcome

lint: $(READY) ## format, style, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house

format: $(READY) ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## the benchmark table (about five minutes)
	$(BIN)/python -m tests.bench

bench-quick: $(READY) ## the same, shorter and noisier
	$(BIN)/python -m tests.bench --quick

bench-peers: $(READY) ## kbroker, Apache Kafka and kfake under the same load, into docs/BENCHMARKS.md (Java, Maven, Go)
	$(BIN)/python -m compat.bench

kill: $(READY) ## kill -9 the broker twenty times under load, then with transactions, and check every record
	$(BIN)/python -m tests.kill --kills 20 --seed 1
	$(BIN)/python -m tests.kill --transactions --kills 20 --seed 1

chaos: $(READY) ## two minutes of killed, paused and cut-off brokers under load, and a check of every record (root, etcd)
	$(BIN)/python -m tests.chaos --minutes 2 --seed 1

sim: $(READY) ## simulated lives: 2,000 of a log on a disk that fails, 300 of a cluster in which everything does
	$(BIN)/python -m tests.sim storage --seeds 0:2000
	$(BIN)/python -m tests.sim cluster --seeds 0:300

container: $(READY) ## build the image with buildah and start it (Debian, root)
	$(BIN)/python -m pytest -m container tests/container

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
