FROM alpine:3.20
ARG TARGETARCH
ARG VERSION=1.4.0
COPY dist/app-linux-${TARGETARCH} /usr/bin/app
LABEL version=$VERSION arch=$TARGETARCH
ENTRYPOINT ["/usr/bin/app"]
