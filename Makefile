# Hansard's commands. Each one sets up what it needs; all of them build one profile in one place.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:
.DELETE_ON_ERROR:

export CARGO_TARGET_DIR ?= $(HOME)/.cache/hansard/target
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

# make serve: where the data lives, where HTTP listens, further arguments of `hansard serve`. With HANSARD_DEMO=DIR,
# DIR/*.log are imported as #ubuntu logs once the server is up.
DATA ?= hansard-data
HTTP ?= 127.0.0.1:8010
ARGS ?=
export HANSARD_DEMO

# make bench: another folder of IRC logs than the repository's own, and where the stores stand meanwhile: on the disk
# that is to be measured, where PostgreSQL's user gets, too.
export HANSARD_LOGS
BENCH_DIR ?= /var/tmp/hansard-bench

# make check: seconds for each fuzz target. make soak: minutes.
FUZZ_SECONDS ?= 20
SOAK_MINUTES ?= 60

CHECKS := check-fmt check-clippy check-doc check-tidy check-schedules check-benches check-fuzz

.PHONY: help serve build test check $(CHECKS) list-checks test-corpus bench bench-quick bench-full deps-bench soak powercut tournament scale compression fmt deps

help:
	@echo "make serve | test | check | test-corpus CORPUS=DIR | bench | bench-quick | bench-full | soak | powercut | tournament | scale | compression | fmt | deps"

serve: build
	@.ci/serve '$(CARGO_TARGET_DIR)/debug/hansard' '$(DATA)' '$(HTTP)' $(ARGS)

build: deps
	cargo build

# The binaries first: the end-to-end tests start them, and a test run alone does not build a package's binary for
# another package's tests.
test: deps
	cargo build --workspace --bins
	cargo nextest run --workspace

check: $(CHECKS)

# --workspace everywhere: cargo unifies features over what it is asked to build, so a lone package would be built
# a second time with other ones.
check-fmt: deps
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --manifest-path benches/Cargo.toml --all --check

check-clippy: deps
	cargo clippy --workspace --all-targets -- -D warnings

check-doc: deps
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

check-tidy: deps
	cargo test --workspace --test tidy

# The engine's threads under a scheduler that tries many orders of steps.
check-schedules: deps
	cargo test -p hansard-engine --no-default-features --features shuttle --test schedules

# The benches are a workspace of their own, which nothing else in the checks compiles.
check-benches: deps
	cargo check --manifest-path benches/Cargo.toml --workspace --all-targets

check-fuzz: deps
	@.ci/fuzz '$(FUZZ_SECONDS)' '$(CARGO_TARGET_DIR)-fuzz'

# What .ci/run times one by one.
list-checks:
	@echo $(CHECKS)

test-corpus: deps
	@[[ -n '$(CORPUS)' ]] || { echo 'make test-corpus: set CORPUS to a folder of #ubuntu logs' >&2; exit 2; }
	@[[ -d '$(CORPUS)' ]] || { echo 'make test-corpus: not a folder: $(CORPUS)' >&2; exit 2; }
	cargo build --workspace --bins
	HANSARD_CORPUS="$$(cd '$(CORPUS)' && pwd)" cargo nextest run --workspace --test corpus

# The engine beside its peers, as released: builds RocksDB once more, with LZ4. Minutes of measuring: quick 5, bench 30,
# full hours. RESULTS.md gets what bench and bench-full find, the quick look only prints it.
bench-quick: deps-bench
	@.ci/bench quick '$(BENCH_DIR)' 15

bench: deps-bench
	@.ci/bench standard '$(BENCH_DIR)' 60 benches/RESULTS.md

bench-full: deps-bench
	@.ci/bench full '$(BENCH_DIR)' 360 benches/RESULTS.md

deps-bench:
	@.ci/deps bench

# Every long trial, two at a time, for SOAK_MINUTES after the build. Mounts file systems: as root.
soak: deps
	cargo run --manifest-path benches/Cargo.toml --bin soak -- --minutes '$(SOAK_MINUTES)' $(ARGS)

# The real server on a file system that forgets what was not synced. As root.
powercut: deps
	cargo build --workspace --bins
	cargo run --manifest-path benches/Cargo.toml --bin powercut -- $(ARGS)

tournament: deps
	cargo run --manifest-path benches/Cargo.toml --bin tournament -- $(ARGS)

# What blocks of other sizes, levels and dictionaries would take: on the packs of ARGS, a data directory.
compression: deps
	cargo run --manifest-path benches/Cargo.toml --bin compression -- $(ARGS)

# A million small rooms beside one of ten million messages, as released: this alone builds a second profile. Some GB.
scale: deps
	cargo build --release --workspace --bins
	cargo run --release --manifest-path benches/Cargo.toml --bin scale -- $(ARGS)

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	cargo fmt --manifest-path benches/Cargo.toml --all

deps:
	@.ci/deps
