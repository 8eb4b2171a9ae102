# `make test`, `make demo` and `make bench` get what they lack and start no system service; see `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

CARGO ?= cargo
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
PYTHON := target/venv/bin/python
# Tests and demo use the debug build: it is made faster, and is fast enough.
export SASLCERTD_BINARY := $(TARGET_DIR)/debug/saslcertd
# Other arguments for these tests: make test-prosody PYTEST='-k revoked -x', make test-install PYTEST=--reuse
PYTEST ?=
# The tests against Prosody wait more than they compute, so several run at a time. One after the other: PYTEST=-n0
AT_A_TIME := -n $(shell n=$$(nproc); echo $$((n < 4 ? 3 * n : 12))) --dist worksteal
# Many of those in Rust wait, too: for the disk, for a deadline, for a process.
TEST_THREADS := --test-threads $(shell echo $$((2 * $$(nproc))))
FUZZ_SECONDS ?= 60
KILLS ?= 200
export KEEP
# make bench: quick, or full; and its parts, if not all of them.
BENCH ?= full
PARTS ?=
export BENCH

# make install and make deb.
PREFIX ?= /usr/local
DESTDIR ?=
# Where Prosody finds modules: on Debian these, for /usr and for /usr/local.
PROSODY_MODULES ?= $(PREFIX)/lib/prosody/modules
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/$(if $(filter /usr,$(PREFIX)),vendor-completions,site-functions)

# What npm has put there last.
NODE_MODULES := devices/node_modules/.package-lock.json

.PHONY: help test demo bench bench-page page-pictures audit build build-tested release install deb page fetch-test fetch-demo fetch-bench \
	fetch-deny lint lint-rust lint-deps lint-lua lint-units lint-page test-rust test-kills test-lua test-page test-prosody test-prosody-database fuzz fetch-install \
	test-install test-versions fetch-versions test-pkits

help: ## say what can be made
	@echo "saslcertd: client certificates and passwords for Prosody"; echo
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | \
		while IFS= read -r line; do printf '  make %-14s %s\n' "$${line%%:*}" "$${line#*## }"; done

test: fetch-test lint test-rust test-lua test-page test-prosody ## get what is missing, then run every check and every test

demo: fetch-demo page build ## see a device log in with its key, and be locked out (KEEP=1 leaves it running)
	@/usr/bin/python3 -B tests/prosody/demo.py </dev/null

bench: fetch-bench ## what a login costs, as ratios to redis and others (BENCH=quick: in some minutes; PARTS='socket logins': these only)
# Each by itself: together, the daemon would be built with what the bench wants of their dependencies.
	$(CARGO) build --locked --release
	$(CARGO) build --locked --release --package saslcertd-bench
	@"$(TARGET_DIR)/release/saslcertd-bench" $(PARTS) </dev/null

bench-page: ## put the table and the picture of the last make bench into docs/performance.md
	@test -f "$(TARGET_DIR)/bench/table.md" || { echo 'make bench-page: no table: make bench first' >&2; exit 1; }
	cp "$(TARGET_DIR)/bench/performance.svg" docs/
	sed -i -e '/^<!-- table -->$$/r $(TARGET_DIR)/bench/table.md' -e '/^<!-- table -->$$/,/^<!-- end of table -->$$/{//!d}' docs/performance.md

audit: fetch-deny ## what lint-deps checks, and known advisories (from github.com)
	$(CARGO) deny --locked check

fetch-deny:
# Built as fast as may be: it runs for two seconds.
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked --debug cargo-deny@0.20.2

fetch-test: ## get what the tests need (as root), without running them
	@tests/prosody/fetch.sh test
	@$(MAKE) --no-print-directory $(NODE_MODULES)

fetch-demo:
	@tests/prosody/fetch.sh demo

fetch-bench:
	@tests/prosody/fetch.sh bench

$(NODE_MODULES): devices/package.json devices/package-lock.json
	@for tool in node npm; do command -v $$tool >/dev/null || { echo "make: $$tool is missing: apt-get install nodejs npm" >&2; exit 1; }; done
	cd devices && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null
	@touch $@

page: $(NODE_MODULES) ## build the page for devices, into target/devices/page
	cd devices && npm run --silent build

page-pictures: ## put the pictures of the last test-prosody into docs/devices.md
	@test -f target/pictures/5-online.png || { echo 'make page-pictures: no pictures: make test-prosody PYTEST="test_devices.py test_devices_links.py" first' >&2; exit 1; }
	cp target/pictures/5-online.png docs/devices-list.png
	cp target/pictures/4-made.png docs/devices-made.png
	cp target/pictures/14-link-add.png docs/devices-link.png

build: ## build the debug binary
	$(CARGO) build --locked

release: ## build what is installed
	$(CARGO) build --locked --release

install: ## install from source: PREFIX=/usr/local DESTDIR= (as root, without DESTDIR: and set it up)
# Root may have no cargo; then `make release` was somebody else's. The same goes for npm and `make page`.
# Less DESTDIR, which the sources of a library of C would take for theirs.
	if command -v $(CARGO) >/dev/null; then $(MAKE) release DESTDIR=; fi
	if command -v npm >/dev/null; then $(MAKE) page DESTDIR=; fi
	systemd/install "$(TARGET_DIR)/release" "$(DESTDIR)" "$(PREFIX)" "$(PROSODY_MODULES)" "$(ZSH_COMPLETIONS)"

deb: ## make a Debian package, in target/debian/ (needs dpkg-dev, nodejs and npm)
# Without it the package would not say which libc6 it needs, and break where that is older.
	@command -v dpkg-shlibdeps >/dev/null || { echo 'make deb: dpkg-shlibdeps is missing: apt-get install dpkg-dev' >&2; exit 1; }
	$(MAKE) page
	command -v cargo-deb >/dev/null || $(CARGO) install --locked cargo-deb
	rm -rf target/deb
	$(MAKE) install DESTDIR=target/deb PREFIX=/usr
	rm target/deb/usr/share/doc/saslcertd/LICENSE
	$(CARGO) deb --no-build
	@package=$$(ls -t target/debian/saslcertd_*.deb | head -n 1); dpkg-deb -f "$$package" Depends | grep -q 'libc6 (>=' || { \
		echo "make deb: $$package does not say which libc6 it needs" >&2; rm "$$package"; exit 1; }
	if command -v lintian >/dev/null; then lintian --allow-root target/debian/*.deb; fi

lint: lint-rust lint-deps lint-lua lint-units lint-page ## formatting, clippy, documentation, dependencies, luacheck, systemd's units, types

# With the Rust that Cargo.toml names, a warning is an error. A newer one may warn of what nobody knew when this was written: that is
# shown, and keeps nobody from building and testing.
RUST_NAMED := $(shell sed -n 's/^rust-version = "\(.*\)"$$/\1/p' Cargo.toml)
DENIED := $(if $(findstring rustc $(RUST_NAMED).,$(shell rustc --version 2>/dev/null)),-D warnings)

lint-rust:
	$(CARGO) fmt --all --check
	rustfmt --check --edition 2024 fuzz/targets/*.rs
	$(CARGO) clippy --locked --workspace --all-targets -- $(DENIED)
# The daemon alone, for machines that do not want the XMPP client.
	$(CARGO) clippy --locked --no-default-features -- $(DENIED)
# For those who work on it: private items too, so links to them are fine.
	RUSTDOCFLAGS='$(DENIED) -A rustdoc::private_intra_doc_links' $(CARGO) doc --locked --no-deps --document-private-items --quiet

# Their advisories have to be fetched, and come when they come: that is `make audit`.
lint-deps: fetch-deny ## licences and sources of the dependencies
	$(CARGO) deny --locked check bans licenses sources

lint-lua:
	luacheck prosody-glue benches

lint-units: ## systemd's own opinion of the units
	systemd/check target/units

lint-page: $(NODE_MODULES) ## types of the page for devices
	cd devices && npm run --silent check

test-rust: ## unit and socket tests of the daemon, on both stores
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --locked --workspace --no-fail-fast $(TEST_THREADS) </dev/null && $(CARGO) test --locked --doc --quiet </dev/null && \
		tests/with-postgresql $(CARGO) nextest run --locked --profile postgresql --no-fail-fast $(TEST_THREADS) </dev/null; \
	else \
		$(CARGO) test --locked --workspace --no-fail-fast -- --skip database:: --skip many_kills:: --skip outages:: --skip sharing:: </dev/null && \
		tests/with-postgresql $(CARGO) test --locked --lib --test daemon -- database:: many_kills:: outages:: sharing:: </dev/null; \
	fi

test-kills: ## SIGKILL of daemons and of PostgreSQL at random, KILLS=200 times (not part of test, which has some)
	SASLCERTD_TEST_KILLS=$(KILLS) tests/with-postgresql $(CARGO) test --locked --test daemon -- --nocapture many_kills:: </dev/null

test-lua: ## specs of the pure parts of Prosody's module, by the Lua of Debian's Prosody and the oldest that Prosody runs on
	busted --lua="$$(command -v lua5.4)" tests/glue
	busted --lua="$$(command -v lua5.2)" tests/glue

test-page: $(NODE_MODULES) ## unit tests of the page for devices, against openssl and Java's keytool
	cd devices && npm run --silent test </dev/null

# As they are built for test-rust: with other features, half of what they need would be compiled once more.
build-tested:
	$(CARGO) build --locked --bins --test pkits

test-prosody: build-tested page ## tests against both Prosodys (after fetch-test)
	cd tests/prosody && $(abspath $(PYTHON)) -B -m pytest -p no:cacheprovider $(AT_A_TIME) $(PYTEST) </dev/null
	$(if $(PYTEST),,$(MAKE) --no-print-directory test-prosody-database)

# What happens while the daemon is away, and to one that stood still, is another thing with a lease: test_several_machines.py has that.
test-prosody-database: build-tested
	cd tests/prosody && ../with-postgresql $(abspath $(PYTHON)) -B -m pytest -p no:cacheprovider $(AT_A_TIME) -k 'not disconnected' \
		test_accounts.py test_certificates.py test_conformance_login.py test_conformance_management.py test_passwords.py test_revocation.py </dev/null

test-versions: fetch-versions build-tested page ## test-prosody against the newest Prosodys, in a Debian 13 (as root; not part of test)
	tests/prosody/versions.sh $(AT_A_TIME) $(PYTEST)

fetch-versions:
	@tests/prosody/fetch.sh versions

fuzz: ## arbitrary bytes into five parsers, for FUZZ_SECONDS each (with nightly Rust, a C++ compiler and cargo-fuzz)
	fuzz/run $(FUZZ_SECONDS)

test-pkits: ## NIST's suite for paths to authorities, for whoever has it: make test-pkits PKITS=DIR
	@test -f "$(PKITS)/cases.json" || { echo "make test-pkits PKITS=DIR: DIR holds certs/, crls/ and cases.json; see docs/authorities.md" >&2; exit 1; }
	PKITS="$(abspath $(PKITS))" $(CARGO) test --locked --test pkits -- --ignored --nocapture </dev/null

test-install: fetch-install deb ## the package in a clean Debian, broken and mended (as root; not part of test)
	cd tests/install && $(abspath $(PYTHON)) -B -m pytest -p no:cacheprovider $(PYTEST) </dev/null

fetch-install:
	@tests/prosody/fetch.sh install
