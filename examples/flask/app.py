"""Says hello over HTTP."""

import os

from flask import Flask
from werkzeug.serving import make_server

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "Hello, World! Version 1\n"


if __name__ == "__main__":
    address = os.environ.get("ADDRESS", "0.0.0.0")
    server = make_server(address, int(os.environ.get("PORT", "5000")), app, threaded=True)
    # With PORT=0 the system chooses a port that is free.
    print(f"http://{address}:{server.server_port}", flush=True)
    server.serve_forever()
