# The image from sources: `docker buildx build --platform linux/amd64,linux/arm64 --tag jumpstream .`
#
# Where no image can be pulled, or a binary is built already, `make image` makes the same without this file.
ARG BUILD=docker.io/library/rust:1-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD} AS build
# librdkafka, OpenSSL and SQLite are built from source: a compiler, perl and make, no library.
RUN apt-get update && apt-get install --yes --no-install-recommends perl make g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The registry and what was built are kept between builds, for each platform by itself.
ARG TARGETPLATFORM
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=target-${TARGETPLATFORM},target=/src/target \
    cargo build --release --locked \
    && strip -o /jumpstream target/release/jumpstream \
    && cargo metadata --locked --format-version 1 | scripts/sbom > /sbom.cdx.json \
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
