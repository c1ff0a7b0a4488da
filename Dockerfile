# syntax=docker/dockerfile:1.7
# One program, the libraries of C that it needs, and certificates: no shell, no package manager, no root.
#
#   docker build -t odibi:0.1.0 .
#   docker run --rm --read-only -v "$PWD:/project:ro" -v odibi-state:/state odibi:0.1.0
#
# docs/deployment.md says the rest. `tests/container/run` tries what can be tried without Docker.
#
# Tags can be moved to other images. For builds that are the same next year, write the digest behind each of the two below,
# `rust:1.95.0-bookworm@sha256:…`, and move it on purpose. It is what this prints:
#
#   docker buildx imagetools inspect rust:1.95.0-bookworm --format '{{.Manifest.Digest}}'
#   docker buildx imagetools inspect gcr.io/distroless/cc-debian12:nonroot --format '{{.Manifest.Digest}}'
#
# Both are Debian 12, so that the program meets the C library that it was linked to. Keep it so.

FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# The target directory is a cache of the builder and no part of a layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p odibi \
    && install -D -m 0755 target/release/odibi /image/usr/local/bin/odibi
# The components that come with odibi are compiled now, for the processors of the machine that builds: on others, and
# for plugins of a project, odibi compiles once more, if ODIBI_CACHE_DIR is a directory that it can write.
RUN ODIBI_CACHE_DIR=/image/opt/odibi/cache /image/usr/local/bin/odibi plugin compile \
    && install -d -m 0700 /image/state \
    && install -d -m 0755 /image/project

FROM gcr.io/distroless/cc-debian12:nonroot AS odibi
# 65532 is `nonroot`. Kubernetes' runAsNonRoot wants the number.
LABEL org.opencontainers.image.title="odibi" \
      org.opencontainers.image.description="Data pipelines in YAML, every transform in a WebAssembly sandbox" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /src/LICENSE /usr/share/doc/odibi/LICENSE
COPY --from=build --chown=65532:65532 /image/opt /opt
COPY --from=build --chown=65532:65532 /image/state /state
COPY --from=build --chown=65532:65532 /image/project /project
COPY --from=build /image/usr/local/bin/odibi /usr/local/bin/odibi
ENV ODIBI_CACHE_DIR=/opt/odibi/cache \
    ODIBI_STATE_DIR=/state
WORKDIR /project
USER 65532:65532
VOLUME /state
CMD ["odibi", "run", "project.yaml"]
