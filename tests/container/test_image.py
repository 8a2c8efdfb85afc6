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
    assert config["Volumes"] == {"/var/lib/kafka/data": {}}
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
    """As the python images have none for the standard library, and the image's user may not add it."""
    bare_base, bare_image = "localhost/kbroker-test-bare-base", "localhost/kbroker-test-bare"
    base = buildah("from", "--pull-never", BASE_IMAGE)
    for bytecode in Path(buildah("mount", base)).glob("usr/lib/python3*/**/*.pyc"):
        bytecode.unlink()
    buildah("commit", "--rm", base, bare_base)
    buildah.build(
        REPOSITORY, bare_image, arguments={"BASE_IMAGE": bare_base}, mounts=pip_mounts(tmp_path / "pip.conf")
    )
    with Container(buildah, bare_image) as container:
        compiled = json.loads(said_by(container, "/opt/kbroker/bin/python", "-c", LIST_COMPILED_AT_START))
    # What the interpreter itself loads before anything of ours runs is not counted here, nor worth much.
    assert compiled == []


def test_it_adds_little_to_its_base(buildah: Buildah, image: str, measured: Measured) -> None:
    total, base = buildah.image_bytes(image), buildah.image_bytes(BASE_IMAGE)
    measured(f"image size: {total / 1e6:.1f} MB, of which the base {base / 1e6:.1f} MB")
    assert total - base < ADDED_BYTES_MAX


def test_the_context_holds_no_more_than_the_image_needs() -> None:
    """.dockerignore lets in what the Dockerfile copies, and nothing else."""
    copied = set()
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and not line.startswith("COPY --from"):
            copied.update(line.split()[1:-1])
    allowed = set(re.findall(r"(?m)^!(.+)$", (REPOSITORY / ".dockerignore").read_text()))
    assert copied == allowed
