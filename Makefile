# The command file. README.md and CONTRIBUTING.md name these and nothing else.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PYTEST := cd tests && TIDELOG_BIN=$(abspath $(TARGET))/sim/tidelog ../.venv/bin/pytest
SEEDS ?= 0..2000
SMOKE_SEEDS ?= 0..200
FUZZ_SECONDS ?= 60
MADSIM_SEEDS ?= 0..300

.PHONY: run test lint unit prepare binary outside smoke sim crash chaos madsim roundtrip bench fuzz

# A server on its defaults: data in ./tidelog-data, Kafka on 127.0.0.1:9092.
run:
	$(CARGO) run --release -p tidelog-server -- serve

# Everything that must pass before a merge. What the tests need is installed first, so that a missing tool shows at once.
test: prepare lint unit smoke outside

prepare:
	tests/prepare

# Formatting and lints, warnings denied.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings
	$(CARGO) clippy --quiet -p tidelog-sim --features mutants --all-targets -- -D warnings

# The Rust tests: every crate, and the tidy test over the whole tree.
unit:
	$(CARGO) test --quiet --workspace

# The binary that the tests run, and the client's examples: release speed with every check on.
binary:
	$(CARGO) build --quiet --profile sim -p tidelog-server -p tidelog-client --bins --examples

# A short sweep of the simulator.
smoke: binary
	$(TARGET)/sim/tidelog sim sweep --seeds $(SMOKE_SEEDS)

# A long one: SEEDS=A..B.
sim: binary
	$(TARGET)/sim/tidelog sim sweep --seeds $(SEEDS)

# Real clients, the command line, a few crashes, real clusters.
outside: prepare binary
	$(PYTEST)

# Two hundred crashes under load.
crash: prepare binary
	export CRASHES=200; $(PYTEST) crash

# Ten minutes of faults against a real three-node cluster (MINUTES, SEED, RATE), judged by the simulator's checker.
chaos: prepare binary
	cd tests && PYTHONPATH=. TIDELOG_BIN=$(abspath $(TARGET))/sim/tidelog ../.venv/bin/python -m chaos

# The shell on madsim, tasks in random order: MADSIM_SEEDS=A..B. The flag builds everything anew, in a folder of its own.
madsim:
	SEEDS=$(MADSIM_SEEDS) RUSTFLAGS="--cfg madsim" $(CARGO) test --quiet -p tidelog-server --test shell \
		--target-dir $(TARGET)/madsim -- --nocapture

# 220 MB of real text through every pair of tools and every codec.
roundtrip: prepare binary
	export TEXT_MB=220; $(PYTEST) outside/test_text.py

# tidelog beside the bare disk and, with KAFKA_PEER set, beside real Kafka.
bench:
	tests/prepare bench
	$(CARGO) build --release -p tidelog-server
	cd tests && PYTHONPATH=. TIDELOG_BIN=$(abspath $(TARGET))/release/tidelog ../.venv/bin/python -m bench

# Each fuzz target for a bounded time; needs a nightly toolchain and cargo-fuzz.
fuzz:
	tests/fuzz/run $(FUZZ_SECONDS)
