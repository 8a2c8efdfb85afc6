"""A voter at work: finds out how to begin, runs etcd, and stops it.

    blank ──FORM──▶ etcd, a new cluster ──▶ ready ──▶ ended
      └────JOIN──▶ etcd, an existing one ──┘
    member ───────▶ etcd, as it was ───────┘

etcd is a child of this process, in a session of its own so that what a terminal sends reaches it only from here. When
it ends by itself, the voter is over: ``wait_ended`` returns, ``failure`` says why, and whoever runs the node ends it.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Mapping
from typing import Final

import trio

from kbroker.cli.quorum.beginning import Beginning, Place, QuorumFailed
from kbroker.cli.quorum.voter_disk import ForeignDirectory, VoterDisk
from kbroker.cli.quorum.voter_port import NoAnswer, http_get
from kbroker.cli.quorum.voters import VoterSettings, http_address, reachable
from kbroker.world import Network, World

logger = logging.getLogger(__name__)

_HEALTH_LOOK_S: Final = 0.05
_HEALTH_ANSWER_S: Final = 2.0
_STOP_S: Final = 5.0
_TELL_AGAIN_S: Final = 15.0

# What etcd 3.4 calls platforms other than the two that it takes for granted: it wants to be told that they are meant.
_OTHER_PLATFORMS: Final = {"aarch64": "arm64", "arm64": "arm64", "s390x": "s390x", "riscv64": "riscv64"}


class QuorumMember:
    """Start it with ``await nursery.start(member.run)``; ``stop`` it and ``await wait_ended()``."""

    def __init__(
        self, settings: VoterSettings, world: World, etcd: str, environment: Mapping[str, str]
    ) -> None:
        """``etcd`` is the program; of ``environment`` it gets everything but settings of its own."""
        self.settings = settings
        self._world = world
        self._etcd = etcd
        self._environment = environment
        self._disk = VoterDisk(settings, world.filesystem)
        self._stop_requested = trio.Event()
        self._ended = trio.Event()
        self.failure: str | None = None
        """Why etcd ended, if not because of ``stop``."""

    def stop(self) -> None:
        """Have etcd end; ``run`` returns when it has."""
        self._stop_requested.set()

    async def wait_ended(self) -> None:
        await self._ended.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Begin, and run etcd until ``stop`` or its own end; has started once there is a quorum to use.

        QuorumFailed if there never will be one here. Cancelled, it takes etcd with it.
        """
        try:
            command = self._command(await self._find_place(), await self._numeric_listen_host())
            try:
                await self._run_etcd(command, task_status)
            except* OSError as group:
                raise QuorumFailed(f"{self._etcd} cannot be started: {group.exceptions[0]}") from None
        finally:
            self._ended.set()

    async def _run_etcd(self, command: list[str], task_status: trio.TaskStatus[None]) -> None:
        ended = trio.CancelScope()
        is_ready = False
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(self._run_process, command, ended)
            with ended:
                await self._wait_until_healthy()
                is_ready = True
                task_status.started()
                await self._stop_requested.wait()
                process.terminate()
                with trio.move_on_after(_STOP_S):
                    await process.wait()
            nursery.cancel_scope.cancel()
        if not self._stop_requested.is_set():
            self.failure = f"etcd ended by itself, with exit code {process.returncode}"
            if not is_ready:
                raise QuorumFailed(self.failure)
            logger.critical(self.failure)

    async def _run_process(
        self, command: list[str], ended: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Process]
    ) -> None:
        await trio.run_process(
            command,
            stdin=b"",
            check=False,
            env=etcd_environment(self._environment, platform.machine()),
            start_new_session=True,
            task_status=task_status,
        )
        ended.cancel()

    async def _find_place(self) -> Place | None:
        """How etcd is to begin; None where it has begun before."""
        run_blocking = self._world.run_blocking
        try:
            heard = await run_blocking(self._disk.open)
            if await run_blocking(self._disk.is_members):
                return None
        except (ForeignDirectory, OSError) as error:
            raise QuorumFailed(str(error)) from error
        return await Beginning(self.settings, self._world, self._disk, heard).find_place()

    async def _numeric_listen_host(self) -> str:
        """etcd binds addresses, not names."""
        host = self.settings.listen_host
        if not host:
            return "0.0.0.0"
        try:
            listener = await self._world.network.listen(host, 0)
        except OSError as error:
            raise QuorumFailed(f"the controller listener's host {host} cannot be bound: {error}") from error
        listener.close()
        return listener.address.host

    def _command(self, place: Place | None, listen_host: str) -> list[str]:
        settings, me = self.settings, self.settings.me
        line = [
            *(self._etcd, "--name", str(settings.node_id), "--data-dir", self._disk.etcd_directory),
            *("--listen-client-urls", http_address(listen_host, settings.listen_port)),
            *("--advertise-client-urls", me.client_address),
            *("--listen-peer-urls", http_address(listen_host, settings.peer_port)),
            *("--initial-advertise-peer-urls", me.peer_address(settings.peer_port)),
            # By default it would keep every revision, and a hundred thousand changes in memory.
            *("--auto-compaction-retention", "1h", "--snapshot-count", "10000"),
            *("--logger", "zap", "--log-level", "error"),
        ]
        if place is not None:
            members = ",".join(
                f"{node_id}={address}" for node_id, address in sorted(place.peer_addresses.items())
            )
            state = "new" if place.is_new else "existing"
            line += ["--initial-cluster", members, "--initial-cluster-state", state]
            # So that members of two clusters that meet by mistake do not take each other for their own.
            line += ["--initial-cluster-token", settings.cluster_id or "kbroker"]
        return line

    async def _wait_until_healthy(self) -> None:
        """Until a majority of members is there, and this one knows what they have agreed on."""
        host, port = reachable(self.settings.listen_host), self.settings.listen_port
        tell_at = self._world.monotonic() + _TELL_AGAIN_S
        while True:
            try:
                await check_etcd(self._world.network, host, port)
                return
            except NoAnswer as reason:
                if self._world.monotonic() >= tell_at:
                    tell_at = self._world.monotonic() + _TELL_AGAIN_S
                    logger.warning(
                        "waiting for a majority of the voters %s: %s", self.settings.voters_text, reason
                    )
            await self._world.sleep(_HEALTH_LOOK_S)


async def check_etcd(network: Network, host: str, port: int, *, timeout_s: float = _HEALTH_ANSWER_S) -> None:
    """Whether an etcd member serves and knows a leader; NoAnswer says what is wrong."""
    answer = await http_get(network, host, port, "/health", timeout_s=timeout_s)
    try:
        health = json.loads(answer.body)
    except ValueError:
        health = None
    if not isinstance(health, dict) or health.get("health") not in ("true", True):
        raise NoAnswer(f"etcd at {host}:{port} is not healthy")


def etcd_environment(environment: Mapping[str, str], machine: str) -> dict[str, str]:
    """Without the variables that etcd takes for flags, which are then refused together with those it is given."""
    kept = {name: value for name, value in environment.items() if not name.startswith("ETCD_")}
    if machine in _OTHER_PLATFORMS:
        kept["ETCD_UNSUPPORTED_ARCH"] = _OTHER_PLATFORMS[machine]
    return kept
