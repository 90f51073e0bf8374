# Shared by both images
FROM registry.example.org/team/base:7 AS common
ENV TZ=UTC
COPY --link certs/ /etc/ssl/certs/

FROM common AS debug
RUN apt-get install -y gdb

FROM common
COPY tool.sh /usr/bin/tool
HEALTHCHECK NONE
# The end.
