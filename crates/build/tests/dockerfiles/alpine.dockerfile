FROM alpine:3.20
LABEL org.opencontainers.image.title="mailer" \
      org.opencontainers.image.description="Sends \"mail\""
RUN apk add --no-cache ca-certificates tzdata
RUN addgroup -g 1001 mail2 && adduser -D -H -u 1001 -s /sbin/nologin mailer
COPY --chown=mailer:mailer mailer /usr/local/bin/
USER mailer
CMD ["/usr/local/bin/mailer"]
