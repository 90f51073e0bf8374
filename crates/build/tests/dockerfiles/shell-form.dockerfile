from debian:12
shell ["/bin/bash", "-o", "pipefail", "-c"]
run adduser --system app
user app
entrypoint exec /usr/bin/app --port $PORT
