# The command file. README.md names these and nothing else.
# Cargo's own variables (CARGO_TARGET_DIR, CARGO_BUILD_JOBS) are respected throughout.

.PHONY: run test lint unit

run: ## Start a server on its defaults: data in ./tidelog-data, Kafka on 127.0.0.1:9092
	cargo run --release -p tidelog-server -- serve

test: lint unit ## Everything that must pass before a merge

lint: ## Formatting and lints, warnings denied
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings -A dead_code

unit: ## The Rust tests: every crate, and the tidy test over the whole tree
	cargo test --workspace
