"""What is in the image, and what its config tells an engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.buildah import Buildah, Container
from tests.container.conftest import BASE_IMAGE, IMAGE_USER_ID, REPOSITORY, Measured, pip_mounts

pytestmark = pytest.mark.container

ADDED_BYTES_MAX = 40 << 20
PROGRAMS_BYTES_MAX = 24 << 20

# Those of the apache/kafka image that this one has too.
SCRIPTS = [
    *("kafka-broker-api-versions.sh", "kafka-cluster.sh", "kafka-configs.sh", "kafka-console-consumer.sh"),
    *("kafka-console-producer.sh", "kafka-consumer-groups.sh", "kafka-consumer-perf-test.sh"),
    *("kafka-delete-records.sh", "kafka-dump-log.sh", "kafka-get-offsets.sh", "kafka-leader-election.sh"),
    *("kafka-log-dirs.sh", "kafka-metadata-quorum.sh", "kafka-producer-perf-test.sh"),
    *("kafka-reassign-partitions.sh", "kafka-run-class.sh", "kafka-server-start.sh", "kafka-server-stop.sh"),
    *("kafka-storage.sh", "kafka-topics.sh", "kafka-transactions.sh"),
]

LIST_DISTRIBUTIONS = """
import importlib.metadata, json
print(json.dumps({found.name: found.version for found in importlib.metadata.distributions()}))
"""

# Prints the modules that came from source although bytecode is what makes the start fast.
LIST_COMPILED_AT_START = """
import importlib.machinery, json, sys
compiled = []
load = importlib.machinery.SourceFileLoader.source_to_code
def noting(self, data, path, **options):
    compiled.append(str(path))
    return load(self, data, path, **options)
importlib.machinery.SourceFileLoader.source_to_code = noting
import kbroker.cli.container, kbroker.cli.health, kbroker.cli.serve
import wire.messages.fetch, wire.messages.metadata, wire.messages.produce
print(json.dumps(compiled))
"""


@pytest.fixture(scope="module")
def container(buildah: Buildah, image: str) -> Iterator[Container]:
    """A container of the image in which nothing runs yet."""
    with Container(buildah, image) as one:
        yield one


def said_by(container: Container, *command: str) -> str:
    done = container.run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_config_tells_engines_what_they_need(buildah: Buildah, image: str) -> None:
    config = buildah.image_config(image)
    assert config["User"] == f"{IMAGE_USER_ID}:{IMAGE_USER_ID}"
    assert config["ExposedPorts"] == {"9092/tcp": {}}
    assert config["Volumes"] == {
        "/var/lib/kafka/data": {},
        "/mnt/shared/config": {},
        "/etc/kafka/secrets": {},
    }
    assert config["StopSignal"] == "SIGTERM"
    # In exec form, so that the broker is process 1 and gets the signal itself.
    assert (config["Entrypoint"] or [], config["Cmd"]) == ([], ["kbroker", "container"])
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "kbroker"]


def test_the_environment_names_nothing_of_the_building_machine(buildah: Buildah, image: str) -> None:
    names = {entry.partition("=")[0] for entry in buildah.image_config(image)["Env"]}
    assert names == {"PATH", "PYTHONDONTWRITEBYTECODE", "KBROKER_IN_CONTAINER"}


def test_commands_run_as_the_images_user(container: Container) -> None:
    assert said_by(container, "id", "-u").strip() == str(IMAGE_USER_ID)
    assert container.run("touch", "/opt/kbroker/mark").returncode != 0
    assert said_by(container, "kbroker", "--version").startswith("kbroker ")


def test_what_the_apache_kafka_image_has_is_at_the_same_paths(container: Container) -> None:
    assert said_by(container, "ls", "/opt/kafka/bin").split() == SCRIPTS
    for path in ("/etc/kafka/docker/server.properties", "/opt/kafka/config/server.properties"):
        assert "process.roles=broker,controller" in said_by(container, "cat", path).splitlines()
    writable = ["/opt/kafka/config", "/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"]
    writable += ["/tmp/kafka-logs", "/tmp/kraft-combined-logs"]
    said_by(container, "touch", *(f"{directory}/mark" for directory in writable))


def test_every_script_starts_and_says_how_it_is_used(container: Container) -> None:
    said = said_by(
        container,
        "sh",
        "-c",
        'for script in /opt/kafka/bin/*.sh; do echo "== ${script##*/}"; "${script##*/}" --help 2>&1; done; true',
    )
    by_script = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    assert list(by_script) == SCRIPTS
    for script, text in by_script.items():
        assert re.search(r"(?i)usage|no kafka server to stop|kbroker has no --help", text), (
            f"{script}: {text}"
        )
        assert "Traceback" not in text, text


def test_a_cluster_can_be_prepared_by_an_init_script(container: Container) -> None:
    script = """
        set -e
        id=$(/opt/kafka/bin/kafka-storage.sh random-uuid)
        cp /etc/kafka/docker/server.properties /tmp/kafka.properties
        echo log.dirs=/tmp/prepared >> /tmp/kafka.properties
        /opt/kafka/bin/kafka-storage.sh format --config /tmp/kafka.properties --cluster-id "$id" --ignore-formatted
        grep -q "cluster.id=$id" /tmp/prepared/meta.properties
    """
    said = said_by(container, "/bin/bash", "-c", script)
    assert said.startswith("Formatting data directory /tmp/prepared with metadata.version ")


def test_the_programs_from_the_distribution_work(container: Container) -> None:
    assert said_by(container, "etcd", "--version").startswith("etcd Version: ")
    assert container.run("nc", "-z", "127.0.0.1", "1").returncode == 1
    names = said_by(container, "ls", "/opt/kbroker/programs/doc").split()
    assert names == ["etcd-server.copyright", "netcat-traditional.copyright"]


def test_the_dependencies_are_the_pinned_ones(container: Container) -> None:
    pinned = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    installed = json.loads(said_by(container, "/opt/kbroker/bin/python", "-c", LIST_DISTRIBUTIONS))
    assert installed.pop("kbroker")
    assert {"trio", "construct", "zstandard", "lz4", "crc32c", "cramjam"} <= installed.keys()
    assert installed == {name: pinned[name] for name in installed}


def test_no_compiler_and_no_installer_is_left(container: Container) -> None:
    for command in ("cc", "gcc", "g++", "clang", "ld", "make", "pip"):
        found = container.run("sh", "-c", f"command -v {command}")
        assert found.returncode != 0, f"{found.stdout} is in the image"


def test_nothing_but_the_broker_was_added(buildah: Buildah, container: Container) -> None:
    mounted = Path(buildah("mount", container.name))
    names = {path.name for path in (mounted / "opt/kbroker/lib").glob("python3*/site-packages/*")}
    assert {"kbroker", "wire", "storage"} <= names
    assert not names & {"tests", "compat", "pip", "setuptools", "pytest"}
    assert not list(mounted.glob("source*")) and not list(mounted.glob("build*"))


def test_every_module_that_the_start_needs_has_bytecode(container: Container) -> None:
    compiled = json.loads(said_by(container, "/opt/kbroker/bin/python", "-c", LIST_COMPILED_AT_START))
    assert compiled == []


def test_the_build_adds_bytecode_where_the_base_has_none(buildah: Buildah, tmp_path: Path) -> None:
    """As the python images have none for the standard library, and the image's user may not add it.

    Built without etcd, too.
    """
    bare_base, bare_image = "localhost/kbroker-test-bare-base", "localhost/kbroker-test-bare"
    base = buildah("from", "--pull-never", BASE_IMAGE)
    for bytecode in Path(buildah("mount", base)).glob("usr/lib/python3*/**/*.pyc"):
        bytecode.unlink()
    buildah("commit", "--rm", base, bare_base)
    buildah.build(
        REPOSITORY,
        bare_image,
        arguments={"BASE_IMAGE": bare_base, "WITH_ETCD": "0"},
        mounts=pip_mounts(tmp_path / "pip.conf"),
    )
    with Container(buildah, bare_image) as container:
        assert container.run("sh", "-c", "command -v etcd").returncode != 0
        compiled = json.loads(said_by(container, "/opt/kbroker/bin/python", "-c", LIST_COMPILED_AT_START))
    # What the interpreter itself loads before anything of ours runs is not counted here, nor worth much.
    assert compiled == []


def test_it_adds_little_to_its_base(buildah: Buildah, image: str, measured: Measured) -> None:
    total, base = buildah.image_bytes(image), buildah.image_bytes(BASE_IMAGE)
    programs = buildah.image_bytes(image, "opt/kbroker/programs")
    measured(
        f"image size: {total / 1e6:.1f} MB, of which the base {base / 1e6:.1f} MB, "
        f"etcd and nc {programs / 1e6:.1f} MB"
    )
    assert total - base - programs < ADDED_BYTES_MAX
    assert programs < PROGRAMS_BYTES_MAX


def test_the_context_holds_no_more_than_the_image_needs() -> None:
    """.dockerignore lets in what the Dockerfile copies, and nothing else."""
    copied = set()
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and not line.startswith("COPY --from"):
            copied.update(line.split()[1:-1])
    allowed = set(re.findall(r"(?m)^!(.+)$", (REPOSITORY / ".dockerignore").read_text()))
    assert copied == allowed
