# syntax=docker/dockerfile:1
# Two images: the worker (the default), and a light one without torch for the sender of webhooks and the client's CLI.
#
#   docker build -f docker/worker.Dockerfile -t imagefleet-worker .
#   docker build -f docker/worker.Dockerfile -t imagefleet-worker:cpu --build-arg TORCH_INDEX=<index of CPU wheels> .
#   docker build -f docker/worker.Dockerfile -t imagefleet-light --target light .
#
# A package index of your own: --secret id=pip,src=pip.conf. The CUDA libraries come as wheels with torch, so that the
# host brings only the driver. Any base with Python 3.11 or newer as `python3`, and venv, will do.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS light-packages
ARG LIGHT_EXTRAS=sender,s3,flower,otel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
# Only what names the versions: a change of our own source leaves the layers with the packages alone.
COPY pyproject.toml constraints.txt ./
RUN touch README.md LICENSE \
 && mkdir -p producer/imagefleet worker/imagefleet_worker \
 && touch producer/imagefleet/__init__.py worker/imagefleet_worker/__init__.py \
 && python3 -m venv /opt/imagefleet
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/imagefleet/bin/pip install -c constraints.txt ".[${LIGHT_EXTRAS}]" \
 && /opt/imagefleet/bin/pip uninstall -y imagefleet

FROM light-packages AS worker-packages
ARG TORCH_INDEX=
ARG EXTRAS=worker,flower,otel
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/imagefleet/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt ".[${EXTRAS}]" \
 && /opt/imagefleet/bin/pip uninstall -y imagefleet

# Our own code, in a folder and so in a layer of its own: a new version moves some megabytes, not gigabytes.
# RECORD is for pip, which is in no image. Nor is `imagefleet up` (.dockerignore): it needs servers and a demo model.
FROM light-packages AS code
COPY README.md LICENSE ./
COPY producer producer
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/imagefleet/bin/pip install --no-deps --prefix /opt/code . \
 && rm /opt/code/lib/python3*/site-packages/imagefleet-*.dist-info/RECORD

# Nothing installs anything from here on.
FROM light-packages AS light-files
RUN /opt/imagefleet/bin/pip uninstall -y pip setuptools

FROM worker-packages AS worker-files
RUN /opt/imagefleet/bin/pip uninstall -y pip

FROM ${BASE_IMAGE} AS light
COPY --from=light-files /opt/imagefleet /opt/imagefleet
COPY --from=code /opt/code /opt/imagefleet
# The root file system may be read-only: what libraries want to write goes to /tmp, where a tmpfs belongs.
ENV PATH=/opt/imagefleet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
# The heartbeat lies in memory, and there only while a worker runs: the CLI alone has no health to ask for.
ENV IMAGEFLEET_HEALTH_FOLDER=/tmp/health
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["imagefleet-worker", "health", "live"]
# Exec form: Celery itself is process 1 and hears SIGTERM.
CMD ["celery", "-A", "imagefleet_worker.app", "worker", "-Q", "imagefleet.webhooks", "-n", "webhooks@%h"]

FROM ${BASE_IMAGE} AS worker
COPY --from=worker-files /opt/imagefleet /opt/imagefleet
COPY --from=code /opt/code /opt/imagefleet
ENV PATH=/opt/imagefleet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    HF_HOME=/models/huggingface IMAGEFLEET_HEALTH_FOLDER=/tmp/health
# A volume over this folder begins with its owner, so that a worker can fetch its model into it.
RUN install -d -o 10001 -g 10001 /models/huggingface
USER 10001:10001
WORKDIR /tmp
# `live` holds while the model loads, however long that takes, and fails where only a restart would help.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["imagefleet-worker", "health", "live"]
CMD ["celery", "-A", "imagefleet_worker.app", "worker"]
