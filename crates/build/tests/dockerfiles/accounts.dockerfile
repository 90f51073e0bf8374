FROM debian:12
RUN groupadd --gid 2000 media && groupadd -g 3000 app
RUN useradd -u 10001 -g media -G audio,video --no-create-home worker && useradd -u 10002 -g app app
RUN addgroup --gid 4000 own && adduser --uid 4000 --ingroup own own
RUN useradd -u 10003 -g www-data web
RUN groupadd late && groupadd -g 10003 web2
# The list of certificates
ADD --checksum=sha256:fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9 https://example.org/cacert.pem /etc/ssl/
ARG SUM=sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
ADD --checksum=$SUM --chmod=755 --chown=app:app https://example.org/tool /usr/local/bin/tool
ADD --checksum=sha256:abc https://example.org/short /opt/
ADD https://example.org/unknown /opt/
USER worker
