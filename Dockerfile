# The environment that `make` makes, and the repository in it: see docs/docker.md.
FROM python:3.11-slim

# rsync brings files to the pods of a Kubernetes cluster.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc git libc6-dev make rsync \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 bdb && install --directory --owner=bdb --group=bdb /bdb
USER bdb
WORKDIR /bdb
ENV PATH=/bdb/.venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1

# Only what the installation reads, so that an edit elsewhere does not install anew.
COPY --chown=bdb:bdb \
    LICENSE Makefile README.md bdb_first.pth bdb_first.py constraints.txt pyproject.toml ./
COPY --chown=bdb:bdb bdb/__init__.py bdb/
ARG ENVIRONMENT=.engines
RUN make .venv/$ENVIRONMENT

COPY --chown=bdb:bdb . .
CMD ["make", "demo"]
