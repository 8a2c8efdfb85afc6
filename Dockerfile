# The container image of kbroker. How to run it, and how to build it without an engine: docs/CONTAINER.md
#
# Any base with Python 3.11 or newer and its venv module will do, for example a Debian with python3-venv.
ARG BASE_IMAGE=python:3.12-slim


FROM ${BASE_IMAGE} AS build
# pip stays in an environment of its own, so that the one that is shipped holds the broker and nothing else.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/kbroker
WORKDIR /source
COPY pyproject.toml constraints.txt ./
# First what changes rarely: the dependencies, as wheels only, since nothing here could compile them.
RUN python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > requirements.txt \
    && /build/bin/pip --python /opt/kbroker install --no-cache-dir --no-compile --only-binary :all: \
        --constraint constraints.txt --requirement requirements.txt \
    && /build/bin/pip install --no-cache-dir --constraint constraints.txt 'setuptools>=70.1'
COPY README.md LICENSE ./
COPY wire wire
COPY storage storage
COPY kbroker kbroker
RUN /build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir wheels . \
    && /build/bin/pip --python /opt/kbroker install --no-cache-dir --no-compile --no-deps wheels/*.whl \
    # What only the libraries' own tests and other Pythons than CPython use.
    && find /opt/kbroker/lib -depth -type d -name '_tests' -exec rm -r {} + \
    && find /opt/kbroker/lib -name '_cffi*.so' -delete \
    # Bytecode that is valid whatever happens to the files' times on their way through image layers.
    && /opt/kbroker/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/kbroker/lib


FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="kbroker" \
      org.opencontainers.image.description="A Kafka broker in Python" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/kbroker /opt/kbroker
# User and data directory as in the apache/kafka image, so that volumes fit both. The last line leaves bytecode of
# those standard modules that the broker imports: the python images come without, and the user may not write it.
RUN groupadd --gid 1000 appuser \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/kafka --shell /usr/sbin/nologin appuser \
    && mkdir -p /var/lib/kafka/data /mnt/shared/config \
    && chown -R 1000:1000 /var/lib/kafka \
    && /opt/kbroker/bin/python -c 'import kbroker.cli.container, kbroker.cli.health, kbroker.cli.serve'
ENV PATH=/opt/kbroker/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    KBROKER_IN_CONTAINER=1
USER 1000:1000
VOLUME /var/lib/kafka/data
EXPOSE 9092
# Asks the broker's first listener for metadata. It needs the docker image format, since the OCI format has no health check.
HEALTHCHECK --interval=10s --timeout=8s --start-period=20s --retries=3 CMD ["kbroker", "health", "--timeout", "5"]
STOPSIGNAL SIGTERM
CMD ["kbroker", "container"]
