# Everything that is done with this repository. `make` lists the targets.
CARGO ?= cargo
TARGET := wasm32-wasip2

.DEFAULT_GOAL := help
.PHONY: help setup build run test test-unit lint fmt check bench peer docs soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and testing needs, or say what is missing
	@command -v rustup >/dev/null || { echo "rustup is missing: install it, then run make again"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: install gcc or clang (Debian: apt-get install gcc)"; exit 1; }
	@rustup target list --installed | grep -qx $(TARGET) || rustup target add $(TARGET)
	@command -v redis-server >/dev/null || $(MAKE) --no-print-directory install-redis

# What the http benchmarks compare with: at least what `wasmtime serve` needs, with its usual allocator and optimisation.
PEER_FEATURES := run,serve,component-model-async,cranelift,parallel-compilation,pooling-allocator

peer: setup ## build wasmtime serve and install wrk, for the http benchmarks
	@command -v wrk >/dev/null || $(MAKE) --no-print-directory install-wrk
	$(CARGO) install wasmtime-cli --version 48.0.8 --locked --root target/peer --no-default-features --features $(PEER_FEATURES)

.PHONY: install-redis
install-redis:
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null; \
	else \
	  echo "redis-server is missing: the tests of the subscriber are skipped (Debian: apt-get install redis-server)"; \
	fi

.PHONY: install-wrk
install-wrk:
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk >/dev/null; \
	else \
	  echo "wrk is missing, which the http benchmarks need (Debian: apt-get install wrk)"; exit 1; \
	fi

build: setup ## build the host and the guest components
	$(CARGO) build -p curfew -p artifacts

run: build ## run the demo app: Ctrl-C stops it
	@echo "in another terminal:  nc 127.0.0.1 7007   then type a line, and press Ctrl-C here before the answer"
	@exec target/debug/curfew run guest-components/demo.toml

test: setup ## build everything and run all tests
	$(CARGO) test -p curfew

test-unit: ## run the tests that need no guest
	$(CARGO) test -p curfew --lib

lint: setup ## formatting and lints, of the host and of the guests
	$(CARGO) fmt --all --check
	$(CARGO) clippy -p curfew -p artifacts --all-targets -- -D warnings
	$(CARGO) clippy --workspace --exclude curfew --exclude artifacts --target $(TARGET) -- -D warnings

fmt: ## format everything
	$(CARGO) fmt --all

check: lint test ## what CI runs

bench: peer ## measure: prints medians and bounds (NAME=stop for one of them)
	$(CARGO) bench -p curfew --bench curfew -- $(NAME)

docs: setup ## write the tables in docs/ from what the tests and the benchmarks see
	CURFEW_WRITE_DOCS=1 $(CARGO) test -p curfew --test integration hostile
	CURFEW_WRITE_DOCS=1 $(CARGO) bench -p curfew --bench curfew -- epoch

soak: setup ## run one test many times: make soak NAME=signals TIMES=50
	$(CARGO) test -p curfew --no-run
	for i in $$(seq $(or $(TIMES),50)); do $(CARGO) test -q -p curfew --test integration -- $(NAME) || exit 1; done

clean: ## remove what was built
	$(CARGO) clean
