# syntax=docker/dockerfile:1
# The image with both executables: `forewarn` (the services) and `forewarn-edge` (the agent on site).

FROM node:22-bookworm-slim AS pages
WORKDIR /build/api/web
COPY api/web/package.json api/web/package-lock.json ./
RUN --mount=type=cache,target=/var/cache/npm npm ci --cache /var/cache/npm --no-audit --no-fund
COPY api/web ./
RUN npm run build

FROM rust:1.95-bookworm AS executables
WORKDIR /build
COPY . .
# The pages are compiled into the executable.
COPY --from=pages /build/api/web/dist api/web/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked -p forewarn -p edge-agent --bins \
    && install -D --target-directory=/out target/release/forewarn target/release/forewarn-edge

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/forewarn forewarn \
    && install --directory --owner=forewarn --group=forewarn /var/lib/forewarn/demo /var/lib/forewarn/spool
COPY --from=executables /out/ /usr/local/bin/
COPY --chmod=755 deploy/demo-agents /usr/local/bin/forewarn-demo-agents
COPY demo/data /usr/share/forewarn/demo
COPY LICENSE /usr/share/doc/forewarn/LICENSE

USER forewarn
WORKDIR /var/lib/forewarn
ENV FOREWARN__API__LISTEN=0.0.0.0:8080 FOREWARN__INGEST__LISTEN=0.0.0.0:1883
EXPOSE 8080 1883
# Ready means: the database answers and its schema fits. Over the shell's sockets, because the image has no curl.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.1 200' <&3"]
CMD ["forewarn", "serve"]
