# The container image of kbroker. How to run it, and how to build it without an engine: docs/CONTAINER.md
#
# Any base with Python 3.11 or newer and its venv module will do, for example a Debian with python3-venv. With etcd, for
# clusters of several containers, it must be a Debian; WITH_ETCD=0 leaves it out.
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


# Two programs of the base's own distribution, without what their packages would do to the system: etcd, and nc, which
# health checks made for the apache/kafka image call ("nc -z localhost 9092").
FROM ${BASE_IMAGE} AS programs
ARG WITH_ETCD=1
WORKDIR /download
RUN mkdir -p /programs/bin /programs/doc && packages="" \
    && if [ "${WITH_ETCD}" != 0 ]; then packages="etcd-server"; fi \
    && if ! command -v nc && command -v apt-get; then packages="${packages} netcat-traditional"; fi \
    && if [ -n "${packages}" ]; then \
        apt-get update \
        && apt-get download ${packages} \
        && for package in *.deb; do dpkg-deb --extract "${package}" files; done \
        && if [ -e files/bin/nc.traditional ]; then mv files/bin/nc.traditional /programs/bin/nc; fi \
        && if [ -e files/usr/bin/nc.traditional ]; then mv files/usr/bin/nc.traditional /programs/bin/nc; fi \
        && if [ -e files/usr/bin/etcd ]; then mv files/usr/bin/etcd /programs/bin/etcd; fi \
        && for name in ${packages}; do cp files/usr/share/doc/${name}/copyright /programs/doc/${name}.copyright; done; \
    fi


FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="kbroker" \
      org.opencontainers.image.description="A Kafka broker in Python" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/kbroker /opt/kbroker
COPY --from=programs /programs /opt/kbroker/programs
# Paths that compose files, health checks and init scripts made for the apache/kafka image call.
COPY container /
# User, directories and their owners as in the apache/kafka image too, so that volumes fit both. The last line leaves
# bytecode of those standard modules that the broker imports: the python images come without, and the user may not write it.
RUN groupadd --gid 1000 appuser \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/kafka --shell /usr/sbin/nologin appuser \
    && mkdir -p /var/lib/kafka/data /mnt/shared/config /etc/kafka/secrets /tmp/kraft-combined-logs /tmp/kafka-logs \
    && for command in /opt/kbroker/bin/kafka-*; do ln -s "${command}" "/opt/kafka/bin/${command##*/}.sh"; done \
    && ln -s /opt/kafka/config/server.properties /etc/kafka/docker/server.properties \
    && chown -R 1000:1000 /var/lib/kafka /mnt/shared/config /etc/kafka /opt/kafka \
        /tmp/kraft-combined-logs /tmp/kafka-logs \
    && /opt/kbroker/bin/python -c 'import kbroker.cli.container, kbroker.cli.health, kbroker.cli.serve'
ENV PATH=/opt/kbroker/bin:/opt/kafka/bin:/opt/kbroker/programs/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    KBROKER_IN_CONTAINER=1
USER 1000:1000
VOLUME /var/lib/kafka/data /mnt/shared/config /etc/kafka/secrets
EXPOSE 9092
# Asks the broker's first listener for metadata. It needs the docker image format, since the OCI format has no health check.
HEALTHCHECK --interval=10s --timeout=8s --start-period=20s --retries=3 CMD ["kbroker", "health", "--timeout", "5"]
STOPSIGNAL SIGTERM
CMD ["kbroker", "container"]
