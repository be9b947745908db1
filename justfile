# What is checked before a change is merged; .ci/run does the same and more.
check: fmt clippy doc test

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
    cargo clippy --locked --test conformance --test faults -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items --all-features

test:
    cargo test
    cargo test --test conformance
    cargo test --release --test faults
    cargo test -p containers
