# The one binary, on a base without shell and package manager. Every service is a command of it:
#
#     docker build --tag nats-serve:0.1.0 .
#     docker run nats-serve:0.1.0 user-service --help
#
# For the classic builder as for BuildKit, so layers cache the dependencies, and no mounts do.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# Optimised as cargo does it for a release; the tests want it sooner, and say 1.
ARG OPT_LEVEL=3
ENV CARGO_PROFILE_RELEASE_OPT_LEVEL=$OPT_LEVEL
# Nobody reads a backtrace of this program; its symbols would be half of the image.
ENV CARGO_PROFILE_RELEASE_STRIP=symbols

# The dependencies, in a layer that stays until Cargo.toml or Cargo.lock change: they are built for a program
# that does nothing. Then what is left of that program goes, because cargo tells old from new by file times.
COPY Cargo.toml Cargo.lock ./
COPY benches/contenders/Cargo.toml benches/contenders/
COPY benches/hop/Cargo.toml benches/hop/
COPY tests/containers/Cargo.toml tests/containers/
RUN mkdir -p src/lib src/bin examples benches/contenders benches/hop tests/containers \
 && touch src/lib/lib.rs benches/contenders/main.rs benches/hop/main.rs tests/containers/program.rs tests/containers/main.rs \
 && echo 'fn main() {}' > src/bin/nats-serve.rs \
 && cargo build --release --locked --bin nats-serve \
 && rm -r target/release/.fingerprint/nats-serve-*

COPY nats nats
COPY src src
RUN cargo build --release --locked --bin nats-serve

# What the program writes to, as empty folders of its user: a new volume takes over the owner.
RUN mkdir -p /folders/spans /folders/keys \
 && cd /folders/keys && mkdir gateway user database notification tools events nats postgres

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="nats-serve" \
      org.opencontainers.image.description="Ray-Serve-style services for Rust teams on NATS, traced end to end" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build --chown=65532:65532 /folders /
COPY --from=build /build/target/release/nats-serve /usr/local/bin/nats-serve
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/nats-serve"]
CMD ["--help"]
