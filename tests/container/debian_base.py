"""A Debian with Python as a base image, made on this machine from its own Debian mirror.

Nothing can be pulled from an image registry where these tests run, and the image must not care which base it has.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("python3", "python3-venv", "ca-certificates")
# What the slim images that people use leave out as well.
_LEFT_OUT = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
)
_DEBOOTSTRAP_DEADLINE_S = 900
_APT_DEADLINE_S = 600


class Unavailable(Exception):
    """This machine lacks something that the tests need and may not bring in; the message says what."""


def require_commands(**packages: str) -> None:
    """Have each command on the path, installing its Debian package if that is possible here."""
    missing = {command: package for command, package in packages.items() if shutil.which(command) is None}
    if not missing:
        return
    names = ", ".join(sorted(missing))
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{names} not installed, and no apt-get to install it with")
    _update_package_lists()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *sorted(set(missing.values()))]
    _run(command, deadline_s=_APT_DEADLINE_S, environment=environment)


def base_archive(cache: Path) -> Path:
    """The base's root file system as a tar file, made at the first call and kept in ``cache``."""
    release = _release()
    name = f"debian-{release}-{platform.machine()}-{'-'.join(PACKAGES)}.tar"
    archive = cache / name
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"{name}.{os.getpid()}"
    partial = cache / f"{name}.{os.getpid()}.partial"
    try:
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", release, str(root)]
        _run([*command, _mirror(release)], deadline_s=_DEBOOTSTRAP_DEADLINE_S)
        for directory in _LEFT_OUT:
            _empty(root / directory)
        _run(["tar", "-C", str(root), "-cf", str(partial), "."], deadline_s=_APT_DEADLINE_S)
        partial.rename(archive)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        partial.unlink(missing_ok=True)
    return archive


def _release() -> str:
    """This Debian's code name: its mirror is known to have it."""
    found = platform.freedesktop_os_release()
    if found.get("ID") != "debian" or "VERSION_CODENAME" not in found:
        raise Unavailable("the base image is made from this machine's Debian mirror, and this is no Debian")
    return found["VERSION_CODENAME"]


def _mirror(release: str) -> str:
    """Address of the mirror that apt is set up with."""
    for attempt in ("as it is", "updated"):
        if attempt == "updated":
            _update_package_lists()
        listed = _run(
            [
                "apt-get",
                "indextargets",
                "--format",
                "$(RELEASE) $(COMPONENT) $(REPO_URI)",
                "Created-By: Packages",
            ],
            deadline_s=_APT_DEADLINE_S,
        )
        for line in listed.splitlines():
            suite, component, address = line.split(maxsplit=2)
            if (suite, component) == (release, "main"):
                return address
    raise Unavailable(f"apt knows no mirror of Debian {release}")


def _update_package_lists() -> None:
    _run(["apt-get", "update"], deadline_s=_APT_DEADLINE_S)


def _empty(directory: Path) -> None:
    for entry in directory.iterdir() if directory.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _run(command: list[str], *, deadline_s: float, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        env=environment,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout
