FROM scratch
COPY --chown=65532:65532 bin/agent /agent
USER 65532:65532
EXPOSE 9000-9002/udp
ENTRYPOINT ["/agent"]
