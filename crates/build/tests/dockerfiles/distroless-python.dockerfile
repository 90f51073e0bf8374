FROM python:3.11-slim AS deps
COPY requirements.txt /
RUN pip install --target=/site-packages -r /requirements.txt

FROM gcr.io/distroless/python3-debian12
COPY --from=deps /site-packages /site-packages
COPY main.py /app/main.py
ENV PYTHONPATH=/site-packages
WORKDIR /app
CMD ["main.py"]
