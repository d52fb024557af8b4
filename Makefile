# One recipe file for people and for CI. `make help` lists what there is.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.stamp
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
LOCKS   := requirements/run.txt requirements/dev.txt requirements/build.txt
DEPLOY  := requirements/deploy.txt
PROTOS  := supervisor/kubelet/protos

# Tests run in this many processes, a file's tests all in one of them; they wait more than they work. JOBS=0 runs them in this one.
JOBS        ?= 4
PYTEST_ARGS ?=
PYTEST      := -m pytest -n $(JOBS) --dist loadfile
# What the system's package manager must bring for `make test-full`; `python -m tests.machine` prints those that are missing.
APT_INSTALL := apt-get install --yes --no-install-recommends

PIP := python -m pip --disable-pip-version-check --quiet

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help .venv demo test test-full test-tools handover rollout soak chaos e2e bench lint protos protos-check lock lock-check wheels test-wheels image sbom clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the environment --------------------------------------------------------------------------------------------------

.venv: $(STAMP) ## set up the environment that all other targets use

$(STAMP): $(LOCKS) pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." \
	       "Name another with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (about a minute, the first time) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/$(PIP) install --require-hashes $(LOCKS:%=-r %)
	@$(BIN)/$(PIP) install --no-deps --no-build-isolation --editable . $(PLUGINS:%=--editable ./%)
	@touch $@

# --- the two commands of the README -----------------------------------------------------------------------------------

demo: $(STAMP) ## see it work: this machine's devices, an embedded kubelet, a restart, a lost device
	@$(BIN)/device-plugin-supervisor demo

test: $(STAMP) ## run all tests but the end-to-end ones; those that want more of the machine are listed with what to install
	$(BIN)/python $(PYTEST) --ignore tests/e2e $(PYTEST_ARGS) tests

# --- for developers ---------------------------------------------------------------------------------------------------

test-tools: $(STAMP)
	@packages="$$($(BIN)/python -m tests.machine)"; \
	if [ -n "$$packages" ]; then apt-get update --quiet && $(APT_INSTALL) $$packages; fi
	@$(BIN)/$(PIP) install --require-hashes -r $(DEPLOY)

test-full: export NO_SKIPS = 1
test-full: test-tools ## everything CI asks (Debian, as root): install the tools, then lint, locks, wheels and all tests
	$(MAKE) lint protos-check lock-check
	$(MAKE) test-wheels
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS) tests

TIMES    ?= 200
EXAMPLES ?= 50
handover: $(STAMP) ## as root: hand over TIMES times for each signal, under load, and print how long the gap was
	$(BIN)/python -m tests.system.handover_campaign --times $(TIMES)

ROLLOUTS ?= 20
rollout: $(STAMP) ## as root: replace a container ROLLOUTS times for each signal, while pods come; print the gaps and the rejected pods
	$(BIN)/python -m tests.system.rollout --times $(ROLLOUTS)

MINUTES ?= 60
soak: $(STAMP) ## MINUTES of every kind of life at once: memory, threads and descriptors stay as they are
	$(BIN)/python -m tests.system.soak --minutes $(MINUTES)

chaos: $(STAMP) ## drive EXAMPLES nodes through every kind of fault in random orders
	$(BIN)/python -m tests.system.chaos --examples $(EXAMPLES)

e2e: $(STAMP) ## the end-to-end tests, on the cluster that KUBECONFIG points at; they make and delete our namespace
	$(BIN)/python -m pytest -n 0 -p no:randomly $(PYTEST_ARGS) tests/e2e

bench: $(STAMP) ## print the table of benchmarks
	@$(BIN)/python -m tests.bench

lint: $(STAMP) ## ruff, mypy and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

PROTOC = $(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=$(1) --pyi_out=$(1) $(wildcard $(PROTOS)/*.proto)

protos: $(STAMP) ## generate the message classes from their .proto files
	$(call PROTOC,.)

protos-check: $(STAMP) ## fail unless the generated classes are those of their .proto files
	@new=$$(mktemp -d) && trap 'rm -rf "$$new"' EXIT && $(call PROTOC,"$$new") && \
	for file in $(PROTOS)/*_pb2.py $(PROTOS)/*_pb2.pyi; do diff -u "$$file" "$$new/$$file" || exit 1; done
	@echo "The generated classes are up to date."

# --- the lock ---------------------------------------------------------------------------------------------------------

# One lock for every supported Python and architecture. Pins that are there stay: `make lock UPGRADE=1` takes the newest.
# The lock names no address: where packages come from is for the machine that installs them to say.
COMPILE := $(BIN)/uv pip compile --quiet --no-config --system-certs --universal --python-version 3.11 --generate-hashes \
           --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
           --no-emit-package device-plugin-supervisor $(if $(UPGRADE),--upgrade)

define lock_into
	$(COMPILE) --output-file $(1)/run.txt pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	$(COMPILE) --output-file $(1)/dev.txt --constraint $(1)/run.txt --group dev
	$(COMPILE) --output-file $(1)/build.txt --constraint $(1)/dev.txt --group build
	$(COMPILE) --output-file $(1)/deploy.txt --constraint $(1)/dev.txt --group deploy
endef

lock: $(STAMP) ## write requirements/*.txt from the pyproject files
	$(call lock_into,requirements)
lock-check: $(STAMP) ## fail unless the lock follows from the pyproject files (newer releases do not matter)
	@rm -rf build/lock && mkdir -p build/lock && cp $(LOCKS) $(DEPLOY) build/lock
	$(call lock_into,build/lock)
	@diff -ru requirements build/lock
	@echo "The lock is up to date."

# --- what users install -----------------------------------------------------------------------------------------------

wheels: $(STAMP) ## build all wheels into dist/
	@rm -rf dist
	$(BIN)/$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist . $(PLUGINS:%=./%)

# The tests run in a copy, outside the checkout, so that `import supervisor` can only find the installed wheel.
test-wheels: wheels ## run the tests against the built wheels, in an environment of their own
	@rm -rf build/wheels && mkdir -p build/wheels
	@$(PYTHON) -m venv build/wheels/venv
	@build/wheels/venv/bin/$(PIP) install --require-hashes $(LOCKS:%=-r %)
	@build/wheels/venv/bin/$(PIP) install --no-deps --no-index dist/*.whl
	work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && cp -r tests pyproject.toml "$$work" && \
	cp --parents plugins/README.md plugins/*/README.md "$$work" && venv=$$PWD/build/wheels/venv && \
	cd "$$work" && "$$venv/bin/python" $(PYTEST) -m "not slow and not checkout" --ignore tests/e2e $(PYTEST_ARGS) tests

# The same commit makes the same bytes, whenever and wherever it is built. Another program than podman: BUILD_IMAGE="docker build".
EPOCH        = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
VERSION      = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
REVISION     = $(shell git describe --always --dirty 2>/dev/null || echo unknown)
IMAGE       ?= device-plugin-supervisor:$(VERSION)
BUILD_IMAGE ?= podman build --timestamp $(EPOCH)
IMAGE_ARGS  ?=

image: ## build the container image; IMAGE_ARGS takes more of its arguments, such as --build-arg BASE=...
	$(BUILD_IMAGE) --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE_DATE_EPOCH=$(EPOCH) \
	  $(IMAGE_ARGS) --file deploy/Containerfile --tag $(IMAGE) .

# pip tells what it would install here: the same distributions as in the image, where that has this Python and architecture.
WOULD := $(BIN)/$(PIP) install --dry-run --ignore-installed --no-deps

sbom: wheels ## write the bill of materials (CycloneDX) of what the image gets to dist/sbom.cdx.json
	@rm -rf build/sbom && mkdir -p build/sbom
	@$(WOULD) --report build/sbom/locked.json --require-hashes --only-binary :all: -r requirements/run.txt -r deploy/image/pip.txt
	@$(WOULD) --report build/sbom/ours.json --no-index dist/*.whl
	@SOURCE_DATE_EPOCH=$(EPOCH) $(BIN)/python -m deploy.image.sbom build/sbom/locked.json build/sbom/ours.json > dist/sbom.cdx.json
	@echo "Written: dist/sbom.cdx.json"

clean: ## remove all that the other targets made
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
