FROM ubuntu
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get upgrade -y \
 && apt-get install -y --no-install-recommends git build-essential \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /tmp/*
RUN curl -fsSL https://example.org/tool.tar.gz | tar -xz -C /opt
ADD https://example.org/cert.pem /etc/ssl/cert.pem
ADD vendor.tar.gz /opt/vendor/
RUN echo "Europe/Berlin" > /etc/timezone && sed -i 's/a/b/' /etc/foo.conf
COPY scripts/run.sh /usr/local/bin/run
RUN chmod +x /usr/local/bin/run
CMD ["/usr/local/bin/run"]
