"""The image, built once for all cases. Only ``pytest -m container`` runs them: ``make container``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.container.buildah import Buildah, Container
from tests.container.debian_base import Unavailable, base_archive, require_commands
from tests.container.network import EngineNetwork, engine_network

REPOSITORY = Path(__file__).resolve().parent.parent.parent
BASE_IMAGE = "localhost/kbroker-test-base"
IMAGE = "localhost/kbroker-test"
IMAGE_USER_ID = 1000

StartContainer = Callable[..., Container]
Measured = Callable[[str], None]

_MEASURED = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these cases out unless the marker is asked for: they build an image, as root."""
    if "container" in (config.option.markexpr or ""):
        return
    here = Path(__file__).parent
    left_out = [item for item in items if item.path.is_relative_to(here)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def measured(pytestconfig: pytest.Config) -> Measured:
    """Takes a line that is printed when all cases are done."""
    return pytestconfig.stash.setdefault(_MEASURED, []).append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_MEASURED, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    if os.geteuid() != 0:
        pytest.skip("building the image's base (debootstrap, chroot) needs root")
    try:
        require_commands(buildah="buildah", debootstrap="debootstrap", ip="iproute2", nsenter="util-linux")
        archive = base_archive(_cache())
    except Unavailable as reason:
        pytest.skip(str(reason))
    one = Buildah(tmp_path_factory.mktemp("buildah"))
    try:
        one.import_base(archive, BASE_IMAGE)
        yield one
    finally:
        one.close()


@pytest.fixture(scope="session")
def image(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of the image of this work tree."""
    pip_settings = tmp_path_factory.mktemp("pip") / "pip.conf"
    mounts = pip_mounts(pip_settings)
    buildah.build(REPOSITORY, IMAGE, arguments={"BASE_IMAGE": BASE_IMAGE}, mounts=mounts)
    return IMAGE


@pytest.fixture
def start_container(buildah: Buildah, image: str) -> Iterator[StartContainer]:
    """Starts containers of a case's own, which end with the case; takes what ``Container`` takes."""
    containers: list[Container] = []

    def start(*, wait: bool = True, as_process_1: bool = False, **arguments: object) -> Container:
        container = Container(buildah, image, **arguments)  # type: ignore[arg-type]
        containers.append(container)
        return container.start(as_process_1=as_process_1) if wait else container.launch()

    yield start
    for container in containers:
        container.close()


@pytest.fixture
def data_volume(tmp_path: Path) -> Path:
    """A directory of this machine that the image's user owns."""
    directory = tmp_path / "volume"
    directory.mkdir()
    shutil.chown(directory, IMAGE_USER_ID, IMAGE_USER_ID)
    return directory


@pytest.fixture
def network(buildah: Buildah) -> Iterator[EngineNetwork]:
    with engine_network() as one:
        yield one


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kbroker"


def pip_mounts(settings: Path) -> list[str]:
    """Let pip in the build use this machine's settings: its PIP_* variables as a file, and the paths they name."""
    variables = {name[4:].lower(): value for name, value in os.environ.items() if name.startswith("PIP_")}
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates:
        variables.setdefault("cert", certificates)
    if not variables:
        return []
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in sorted(variables.items())]
    settings.write_text("\n".join(["[global]", *lines, ""]))
    paths = {value for value in variables.values() if value.startswith("/") and Path(value).exists()}
    return [f"{settings}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in sorted(paths))]
