# The image from sources: `DOCKER_BUILDKIT=1 docker build --build-arg REVISION=$(git rev-parse HEAD) --tag jumpstream .`
#
# For several platforms see docs/operating/kubernetes.md.
# Where no image can be pulled, or a binary is built already, `make image` makes the same without this file.
ARG BUILD=docker.io/library/rust:1-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD} AS build
# librdkafka, OpenSSL and SQLite are built from source: a compiler, perl and make, no library.
RUN apt-get update && apt-get install --yes --no-install-recommends perl make g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The registry and what was built are kept between builds, for each platform by itself. Cargo tells by a file's time whether
# it changed: without the touch, sources that are older than the last build would ship that build's binary.
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-${TARGETPLATFORM},target=/src/target \
    touch src/lib.rs src/main.rs \
    && cargo build --release --locked \
    && strip -o /jumpstream target/release/jumpstream \
    && cargo metadata --locked --format-version 1 --filter-platform "$(rustc --print host-tuple)" | scripts/sbom > /sbom.cdx.json \
    && mkdir --parents /empty

# The base has glibc, the authorities and the user 65532; it has no shell.
FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="jumpstream" \
      org.opencontainers.image.description="Reads JumpCloud Directory Insights events and publishes every one of them, once, to Kafka or a SIEM" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /jumpstream /usr/local/bin/jumpstream
COPY --from=build /sbom.cdx.json /src/LICENSE /usr/share/jumpstream/
COPY --from=build --chown=65532:65532 /empty /var/lib/jumpstream
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /var/lib/jumpstream
EXPOSE 9464
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/jumpstream"]
