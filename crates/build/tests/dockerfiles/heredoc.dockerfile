FROM debian:12
ARG PORT=8080
RUN <<SCRIPT
set -e
apt-get update
apt-get install -y nginx
mkdir -p /srv/www
SCRIPT
COPY <<CONF /etc/app.conf
port = ${PORT}
name = "app"
CONF
COPY --chmod=0755 <<"EOS" /usr/local/bin/start
#!/bin/sh
exec app "$@"
EOS
CMD ["/usr/local/bin/start"]
