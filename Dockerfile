# The server without the web page: `collab-server serve`, its admin port, and the commands beside it.
#
# BASE is any image with Python 3.11 or newer and venv; both stages start from it, since the environment of the first runs
# on the interpreter of the second. For a release name it by digest. `make image` builds on a Debian of its own making
# where there is no Docker engine.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
ARG PYTHON=python3
WORKDIR /src
# pip installs from outside, so that the environment that ships has none.
RUN ${PYTHON} -m venv /opt/tools && ${PYTHON} -m venv --without-pip /opt/collab-server
# The locks come before the source: an edit rebuilds the last layer only.
COPY infra/image/requirements-build.lock ./
RUN /opt/tools/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-build.lock
COPY requirements-runtime.lock ./
RUN /opt/tools/bin/pip --python /opt/collab-server/bin/python install --no-cache-dir \
      --require-hashes --no-deps --only-binary :all: -r requirements-runtime.lock
COPY . .
RUN /opt/tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /src/dist . \
 && /opt/tools/bin/pip --python /opt/collab-server/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl \
 && install -m 0444 infra/image/healthcheck.py /opt/collab-server/healthcheck.py

FROM ${BASE}
# The number is what orchestrators check; the name is for the libraries that ask who they are.
RUN groupadd --gid 10001 collab \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin collab \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/collab-server /opt/collab-server
# Nothing is written outside COLLAB_DATA_DIR and /tmp: the root file system may be read-only.
ENV PATH=/opt/collab-server/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    COLLAB_HOST=0.0.0.0 \
    COLLAB_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
# WebSocket and admin port. The admin port is private: never publish it.
EXPOSE 8081 8082
# It drains on SIGTERM; give it COLLAB_DRAIN_TIMEOUT_S (100 s) and a little more before SIGKILL.
STOPSIGNAL SIGTERM
# Live, not ready: a server whose database is away must not be restarted for it. 30 s cover the migrations of a start.
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
  CMD ["python", "/opt/collab-server/healthcheck.py"]
ENTRYPOINT ["collab-server"]
CMD ["serve"]
