# The two commands are `make demo` and `make test`. Each does all of its own set-up on a bare Debian 12 with Rust.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

SECONDS_OF_DEMO := $(SECONDS)
# A line without telemetry: 1.31.1 was seen to keep a database in the user's cache, which it wants to send
# home. edge-ger runs that one too, and keeps it from both.
ORT_VERSION := 1.23.2
ORT := .onnxruntime/libonnxruntime.so
ORT_READY := .onnxruntime/ready-$(ORT_VERSION)
VENV := models/.venv
# What the dashboards are loaded into, unpacked where only the tests find it: installed, Prometheus would run as a service.
TOOLS := tests/.tools
NODE_TOOLS := node-red@4.1.15 typescript@5.9.3 @grafana/schema@11.6.16
BENCH_VENV := benches/.venv
DENY_VERSION := 0.20.2
DENY_TOOL := $(TOOLS)/cargo-deny/bin/cargo-deny
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

# What the daemon needs to build and to run.
RUN_PACKAGES := build-essential pkg-config python3 python3-pip python3-venv \
	libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev libasound2-dev \
	gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav \
	glib-networking ca-certificates
# What the tests run against.
TEST_PACKAGES := gstreamer1.0-plugins-ugly gstreamer1.0-tools mosquitto mosquitto-clients \
	pulseaudio pulseaudio-utils openssl systemd ffmpeg chromium groff-base bash fish zsh

.PHONY: help demo test lint test-models lint-models bench bench-check fleet deny measures setup setup-test clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: setup ## a camera, a broker, the daemon and a subscriber: watch readings arrive (SECONDS=45 ends by itself)
	cargo build --release --locked --features demo
	ORT_DYLIB_PATH=$(CURDIR)/$(ORT) target/release/edge-ger demo $(if $(filter environment% command%,$(origin SECONDS)),--seconds $(SECONDS_OF_DEMO))

test: setup-test lint ## formatting, lints and every test, with the real parts
	cargo test --locked --features demo

lint: setup
	cargo fmt --check
	cargo clippy --locked --all-targets --features demo -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --features demo

# Advisories need a database from the open internet: where it can be reached, `make deny DENY=advisories DENY_FLAGS=`.
DENY := licenses bans sources
DENY_FLAGS := --offline
deny: $(DENY_TOOL) ## licences, sources and bans of every crate
	cargo fetch --locked --quiet
	$(DENY_TOOL) $(DENY_FLAGS) check $(DENY)

$(DENY_TOOL):
	cargo install --locked --quiet --root $(TOOLS)/cargo-deny --version $(DENY_VERSION) cargo-deny

measures: ## the measures of the source tree (COMMITS="v0.2.0 HEAD": of commits, side by side)
	@python3 tools/measures.py $(COMMITS)

test-models: lint-models ## the Python kit's own tests
	$(VENV)/bin/python -m pytest -q models/tests

lint-models: $(VENV)/.ready ## ruff and mypy over the Python kit, ruff over the bench's peer
	cd models && .venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy
	cd models && .venv/bin/ruff check --config pyproject.toml ../benches/peer
	cd models && .venv/bin/ruff format --check --config pyproject.toml ../benches/peer

bench: setup-test $(BENCH_VENV)/.ready ## ratios against the script a user would write, in one run (BENCH_SECONDS=60 each)
	ORT_DYLIB_PATH=$(CURDIR)/$(ORT) cargo bench --locked --features demo --bench micro --bench daemon

# Built as the tests are, for seconds: the figures mean nothing, but a benchmark that cannot run any more is seen.
bench-check: setup-test $(BENCH_VENV)/.ready ## every benchmark for some seconds, so that none breaks unseen
	cargo build --locked --features demo --benches --bins
	ORT_DYLIB_PATH=$(CURDIR)/$(ORT) BENCH_SECONDS=8 cargo bench --profile dev --locked --features demo --bench daemon
	ORT_DYLIB_PATH=$(CURDIR)/$(ORT) DIVAN_SAMPLE_COUNT=1 cargo bench --profile dev --locked --features demo --bench micro
	FLEET_BOXES=4 FLEET_SECONDS=3 FLEET_OUTAGE_S=3 cargo bench --profile dev --locked --features demo --bench fleet

# Built as the tests are: what is measured is the broker.
fleet: setup-test ## a thousand boxes against one mosquitto: what they cost, and a restart (FLEET_BOXES=1000)
	cargo bench --profile dev --locked --features demo --bench fleet

$(BENCH_VENV)/.ready: benches/peer/requirements.txt
	@$(call install,python3 python3-venv)
	python3 -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install -q --only-binary=:all: -r $<
	touch $@

setup: $(ORT_READY) ## packages and the ONNX Runtime library
	@$(call install,$(RUN_PACKAGES))

setup-test: setup $(TOOLS)/prometheus/ready $(TOOLS)/node/ready
	@$(call install,$(TEST_PACKAGES))

$(TOOLS)/prometheus/ready:
	rm -rf $(@D) && mkdir -p $(@D)
	cd $(@D) && { apt-get download -q prometheus || { $(AS_ROOT) apt-get update -q && apt-get download -q prometheus; }; }
	dpkg -x $(@D)/prometheus_*.deb $(@D) && rm $(@D)/prometheus_*.deb
	touch $@

$(TOOLS)/node/ready:
	@command -v npm >/dev/null || { $(call install,nodejs npm); }
	rm -rf $(@D) && mkdir -p $(@D)
	npm install --silent --no-audit --no-fund --omit=dev --ignore-scripts --prefix $(@D) $(NODE_TOOLS)
	touch $@

# Installs what is missing, and asks for root only then.
define install
missing=$$(for it in $(1); do dpkg-query -W -f='$${Status}' $$it 2>/dev/null | grep -q 'ok installed' || echo $$it; done); \
if [ -n "$$missing" ]; then $(AS_ROOT) apt-get update -q; \
DEBIAN_FRONTEND=noninteractive $(AS_ROOT) apt-get install -y -q --no-install-recommends $$missing; fi
endef

$(ORT_READY):
	@$(call install,python3 python3-pip)
	packaging/onnxruntime.sh $(ORT_VERSION) $$(uname -m) .onnxruntime
	touch $@

$(VENV)/.ready: models/requirements.lock
	@$(call install,python3 python3-venv ffmpeg)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q -r models/requirements.lock
	touch $@

include packaging/packages.mk

clean: ## what was built, not what was set up
	cargo clean
