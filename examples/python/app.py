"""Says hello over HTTP."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "Hello from Python\n"


if __name__ == "__main__":
    app.run(host=os.environ.get("ADDRESS", "0.0.0.0"), port=int(os.environ.get("PORT", "8000")))
