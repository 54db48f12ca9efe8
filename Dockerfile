# Both programs in one small image, not run as root: `api` and `consumer`.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p api -p consumer && \
    cp target/release/api target/release/consumer /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --no-create-home onhand
COPY --from=build /usr/local/bin/api /usr/local/bin/consumer /usr/local/bin/
USER onhand
ENV ONHAND_HTTP=0.0.0.0:8080 ONHAND_LOG_FORMAT=json
EXPOSE 8080
CMD ["api"]
