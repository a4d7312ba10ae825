# syntax=docker/dockerfile:1
# Dependencies before source: a change of the source reuses the layer that took long.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/thinkpool && python -m venv /opt/build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock requirements-build.lock ./
RUN /opt/thinkpool/bin/pip install --require-hashes --requirement requirements.lock \
    && /opt/build/bin/pip install --require-hashes --requirement requirements-build.lock
COPY docs docs
COPY libs/client libs/client
COPY libs/pipeline libs/pipeline
COPY apps/api-server apps/api-server
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels \
        ./libs/client ./libs/pipeline ./apps/api-server \
    && /opt/thinkpool/bin/pip install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/thinkpool thinkpool \
    && install --directory --owner thinkpool /var/lib/thinkpool/data
COPY --from=build /opt/thinkpool /opt/thinkpool
ENV PATH=/opt/thinkpool/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8000 DATA_DIR=/var/lib/thinkpool/data
# By its number, so that what forbids root can tell that this is not root.
USER 10001
WORKDIR /var/lib/thinkpool
VOLUME /var/lib/thinkpool/data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Whether it is alive. Whether it may be sent work is /ready, which is no reason to restart it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=3)"]
CMD ["thinkpool", "serve"]
