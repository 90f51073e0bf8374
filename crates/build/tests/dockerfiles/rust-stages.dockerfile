FROM rust:1.79 as builder
WORKDIR /usr/src/app
COPY Cargo.toml Cargo.lock ./
COPY src ./src
RUN cargo build --release

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=builder --chmod=755 /usr/src/app/target/release/app /usr/local/bin/app
STOPSIGNAL SIGINT
CMD ["app"]
