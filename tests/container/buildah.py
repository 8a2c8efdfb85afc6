"""Images and containers by ``buildah``, with a storage of their own that goes with the tests.

``--isolation chroot`` and the vfs driver need neither a container engine nor cgroups, overlay mounts or a network of
their own: a container is a process of this machine in another root directory, as the image's user, on this machine's
network or in the network namespace that ``nsenter`` puts it in.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

READY_PREFIX = "kbroker ready"
_BUILD_DEADLINE_S = 900
_COMMAND_DEADLINE_S = 120
_ISOLATION = ("--isolation", "chroot")
_WRAPPERS = frozenset({"chroot", "env", "nsenter", "unshare"})


class Buildah:
    """One storage directory; everything in it is deleted by ``close``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = directory / "tmp"
        self._temporary.mkdir(parents=True)

    def command(self, *arguments: str) -> list[str]:
        storage = ["--root", str(self._directory / "storage"), "--runroot", str(self._directory / "run")]
        return ["buildah", *storage, "--storage-driver", "vfs", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self._temporary)}

    def __call__(self, *arguments: str, deadline_s: float = _COMMAND_DEADLINE_S) -> str:
        """Standard output of a buildah command that succeeds."""
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=deadline_s,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"buildah {arguments[0]}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def import_base(self, archive: Path, name: str) -> None:
        """Make an image of a root file system."""
        container = self("from", "scratch")
        self("add", container, str(archive), "/")
        self("commit", "--rm", container, name, deadline_s=_BUILD_DEADLINE_S)

    def build(self, context: Path, name: str, *, arguments: Mapping[str, str], mounts: Sequence[str]) -> str:
        """Build ``context``'s Dockerfile; what the build printed. The docker format keeps the health check."""
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options += [f"--volume={mount}" for mount in mounts]
        return self(
            *(
                "build",
                *_ISOLATION,
                "--format",
                "docker",
                "--pull-never",
                *options,
                "--tag",
                name,
                str(context),
            ),
            deadline_s=_BUILD_DEADLINE_S,
        )

    def image_config(self, image: str) -> dict[str, Any]:
        """The image's config as Docker shows it: User, Env, Cmd, Volumes, Healthcheck ..."""
        config: dict[str, Any] = json.loads(self("inspect", "--type", "image", image))["Docker"]["config"]
        return config

    def image_bytes(self, image: str, directory: str = "") -> int:
        """Size of the image's root file system, or of a directory in it."""
        container = self("from", "--pull-never", image)
        try:
            mounted = Path(self("mount", container)) / directory
            return sum(
                path.lstat().st_size
                for path in mounted.rglob("*")
                if path.is_file() and not path.is_symlink()
            )
        finally:
            self("rm", container)

    def close(self) -> None:
        for arguments in (("rm", "--all"), ("rmi", "--all", "--force")):
            with contextlib.suppress(AssertionError):
                self(*arguments)
        shutil.rmtree(self._directory, ignore_errors=True)


class Container:
    """One container of an image; usable as a context manager, which ends and deletes it.

    ``environment`` and ``volumes`` (``host:container[:ro]``) are what ``-e`` and ``-v`` are for engines, ``command``
    takes the place of the image's, ``hosts`` are addresses by the names of other containers; ``namespace`` is the name
    of a network namespace to be in.
    """

    def __init__(
        self,
        buildah: Buildah,
        image: str,
        *,
        environment: Mapping[str, str] | None = None,
        volumes: Sequence[str] = (),
        namespace: str | None = None,
        command: Sequence[str] = (),
        hosts: Mapping[str, str] | None = None,
        hostname: str | None = None,
    ) -> None:
        self._buildah = buildah
        self._command = tuple(command)
        self._hostname = hostname
        self._variables = [f"{key}={value}" for key, value in (environment or {}).items()]
        self._volumes = tuple(volumes)
        self._namespace = namespace
        self._image_config = buildah.image_config(image)
        names = [f"--add-host={name}:{address}" for name, address in (hosts or {}).items()]
        self.name = buildah("from", "--pull-never", *names, image)
        self.started_in_s = 0.0
        self.ready_line: str | None = None
        self.output: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def run(self, *command: str, deadline_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, beside whatever runs there, and wait for it."""
        return subprocess.run(
            self._run_command(*command),
            capture_output=True,
            text=True,
            timeout=deadline_s,
            env=self._buildah.environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def health_check(self) -> subprocess.CompletedProcess[str]:
        """What an engine runs from time to time."""
        kind, *command = self._image_config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*command)

    def launch(self, *, as_process_1: bool = False) -> Self:
        """Run the container's command; on request as the first process of a process space of its own."""
        assert self._process is None or self._process.poll() is not None, "it runs"
        self._ready.clear()
        self.ready_line = None
        command = [*(self._image_config["Entrypoint"] or []), *(self._command or self._image_config["Cmd"])]
        self._process = process = subprocess.Popen(
            self._process_1_command(*command) if as_process_1 else self._run_command(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._buildah.environment,
        )
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        return self

    def start(self, *, as_process_1: bool = False, deadline_s: float = 60.0) -> Self:
        """Launch it and wait until it says that clients can connect."""
        began = time.monotonic()
        self.launch(as_process_1=as_process_1)
        self.wait_ready(deadline_s=deadline_s)
        self.started_in_s = time.monotonic() - began
        return self

    def wait_ready(self, *, deadline_s: float = 60.0) -> None:
        """Wait until it says that clients can connect."""
        began = time.monotonic()
        assert self._process is not None
        while not self._ready.wait(0.01):
            ended = self._process.poll() is not None or time.monotonic() - began > deadline_s
            if ended and not self._ready.wait(0.5):
                raise AssertionError("the container did not become ready:\n" + "\n".join(self.output[-50:]))

    def wait_for_output(self, text: str, *, deadline_s: float = 30.0) -> None:
        """Wait until it has said that."""
        deadline = time.monotonic() + deadline_s
        while not any(text in line for line in self.output):
            assert time.monotonic() < deadline, f"nothing of {text!r} in:\n" + "\n".join(self.output[-50:])
            time.sleep(0.01)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        """The container's first process, which engines run as process 1: the first that is not there to start it."""
        assert self._process is not None
        current: int | None = self._process.pid
        while current is not None and not _is_in_a_container(current):
            current = _only_child_of(current)
        assert current is not None, "the container has no process"
        return current

    def kill(self) -> None:
        """End all processes at once, as engines do when the first one ends, or with ``kill``."""
        for process_id in (self.process_id, *_descendants_of(self.process_id)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker's process, as engines do."""
        os.kill(self.process_id, number)

    def wait(self, *, deadline_s: float = 30.0) -> int:
        """Exit code of the command, once it has ended."""
        assert self._process is not None
        exit_code = self._process.wait(deadline_s)
        for reader in self._readers:
            reader.join(10.0)
        return exit_code

    def terminate(self, *, deadline_s: float = 30.0) -> int:
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s=deadline_s)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, AssertionError, subprocess.TimeoutExpired):
                self.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10.0)
            self._process.kill()
            self.wait()
        with contextlib.suppress(AssertionError):
            self._buildah("rm", self.name)

    def _run_command(self, *command: str) -> list[str]:
        options = [f"--env={variable}" for variable in self._variables]
        options += [f"--volume={volume}" for volume in self._volumes]
        if self._hostname is not None:
            options.append(f"--hostname={self._hostname}")
        run = self._buildah.command("run", *_ISOLATION, *options, self.name, "--", *command)
        if self._namespace is None:
            return run
        return ["nsenter", f"--net=/run/netns/{self._namespace}", "--", *run]

    def _process_1_command(self, *command: str) -> list[str]:
        """What ``buildah run`` does not offer with chroot isolation. Without volumes and /proc."""
        assert not self._volumes and self._namespace is None
        root = self._buildah("mount", self.name)
        environment = [*self._image_config["Env"], *self._variables]
        space = ["unshare", "--pid", "--fork", "--kill-child", "--"]
        user = self._image_config["User"]
        return ["env", "-i", *environment, *space, "chroot", f"--userspec={user}", root, *command]

    def _read(self, stream: IO[str]) -> None:
        with contextlib.closing(stream):
            for line in stream:
                self.output.append(line.rstrip("\n"))
                if line.startswith(READY_PREFIX):
                    self.ready_line = line.rstrip("\n")
                    self._ready.set()


def _is_in_a_container(process_id: int) -> bool:
    """Whether it is past what put it there."""
    try:
        program = os.readlink(f"/proc/{process_id}/exe")
    except OSError:
        return False
    name = program.rpartition("/")[2]
    return "buildah" not in name and name not in _WRAPPERS


def _only_child_of(process_id: int) -> int | None:
    children = _children_by_parent().get(process_id, [])
    return children[0] if len(children) == 1 else None


def _descendants_of(process_id: int) -> list[int]:
    children = _children_by_parent()
    found, look_at = [], [process_id]
    while look_at:
        more = children.get(look_at.pop(), [])
        found += more
        look_at += more
    return found


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may hold blanks; the parent follows the state, which follows it.
            parent = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile
        children.setdefault(parent, []).append(int(stat.parent.name))
    return children
