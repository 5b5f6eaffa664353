# One image for every part of the fleet: an image worker by default, a sender of webhooks by another queue.
#
#   docker build -f docker/worker.Dockerfile -t imagefleet-worker .
#   docker build -f docker/worker.Dockerfile --build-arg EXTRAS= -t imagefleet .        # the client and its CLI only
#   docker build -f docker/worker.Dockerfile --build-arg TORCH_INDEX=<index of CPU wheels> -t imagefleet-worker:cpu .

# The CUDA libraries come as wheels with torch; the host brings only the driver.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS build
ARG EXTRAS=[worker]
ARG TORCH_INDEX=
ENV PIP_NO_COMPILE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python3 -m venv /opt/imagefleet
WORKDIR /build
# Dependencies first, in a layer that a change of our own source leaves alone.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir -p producer/imagefleet worker/imagefleet_worker \
 && touch producer/imagefleet/__init__.py worker/imagefleet_worker/__init__.py \
 && /opt/imagefleet/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
      -c constraints.txt ".${EXTRAS}" \
 && /opt/imagefleet/bin/pip uninstall -y imagefleet
COPY producer producer
COPY worker worker
RUN /opt/imagefleet/bin/pip install --no-cache-dir --no-deps .

FROM ${BASE_IMAGE}
COPY --from=build /opt/imagefleet /opt/imagefleet
# Nothing is written but the caches of libraries, and those to a temporary file system.
ENV PATH=/opt/imagefleet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp HF_HOME=/models/huggingface
USER 10001:10001
WORKDIR /tmp
# Exec form: Celery itself is process 1 and hears SIGTERM.
CMD ["celery", "-A", "imagefleet_worker.app", "worker"]
