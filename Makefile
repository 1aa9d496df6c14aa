# One definition for each command of the project; `.ci/run` calls the same targets. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build demo demo-kafka test prove check fmt bench image e2e-kubernetes e2e-systemd chart-docs docs services clean-services clean

# What the tests are told of the services: written by scripts/services, empty where there are none.
WITH_SERVICES := scripts/services && scripts/tools && . target/services.env &&

# So many tests at once, whatever the number of processors: they wait for brokers and processes more than they compute,
# but each broker computes for a few seconds when it starts.
export RUST_TEST_THREADS ?= 4

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the binary, as it is released: target/release/jumpstream (built apart from the rest)
	cargo build --release --locked

demo: ## shows it work, in half a minute once it is built: no account, no Kafka, nothing to set up
	cargo run --locked -- demo

demo-kafka: ## the same with a real Kafka, exactly once, while jumpstream is killed again and again (a minute; wants Docker)
	$(WITH_SERVICES) scripts/demo-kafka

test: ## all tests, with real services where they can be had (T=name runs only tests of that name)
	$(WITH_SERVICES) cargo test --locked --test it -- $(T)

prove: ## the same tests with the full number of crashes, seeds and random cases: hours instead of minutes
	$(WITH_SERVICES) JUMPSTREAM_PROVE=1 cargo test --locked --profile prove --test it -- $(T)

check: ## formatting, lints, and the dependencies' licences, sources and known faults
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	scripts/check-dependencies

fmt: ## formats the code
	cargo fmt

bench: ## measures throughput, latency and memory (50 minutes; prints tables; scripts/bench runs single parts)
	$(WITH_SERVICES) scripts/bench

image: ## a container image of target/release/jumpstream, without a registry: target/image/jumpstream.tar (BINARY=… takes another)
	scripts/image $(BINARY)

e2e-kubernetes: ## installs the chart in the cluster of KUBECONFIG and judges what arrives (LOAD_IMAGE=command loads a tar)
	$(WITH_SERVICES) scripts/e2e-kubernetes

e2e-systemd: ## installs the unit under a systemd in a container and judges what arrives (4 minutes; wants Docker)
	$(WITH_SERVICES) scripts/e2e-systemd

chart-docs: ## the chart's README and schema, and the configuration's schema, made from values.yaml and src/config
	UPDATE_DOCS=1 cargo test --locked --test it -- chart::values reference

docs: ## the code's documentation: target/doc/jumpstream/index.html
	cargo doc --locked --no-deps --document-private-items

services: ## Docker, images of Kafka, rsyslog and syslog-ng, helm and promtool for the tests; says what it did
	scripts/services
	scripts/tools

clean-services: ## removes the tests' containers and images; the Docker engine stays
	scripts/clean-services

clean: clean-services ## the same, and everything that was built
	cargo clean
