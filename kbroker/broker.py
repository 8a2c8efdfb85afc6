"""One broker, wired together: the only module that knows everybody.

The life of a broker:

    starting   lock the data, open the metadata store, load the logs, bind the listeners, register
    ready      ``run`` has reported a BrokerReady; clients are served
    stopping   ``stop``: nobody waits any more, requests in hand finish, connections close
    stopped    logs are closed with the clean-shutdown marker, the session is given back

A background task that fails ends the broker: serving on without it would be lying. The data survives that, as
it survives ``kill -9``: the next start recovers.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from kbroker.adapters import is_placed, was_removed
from kbroker.broker_parts import BrokerParts
from kbroker.config.broker_config import BrokerConfig
from kbroker.kafka_takeover import take_over_at_start
from kbroker.metadata.controlled_shutdown import shut_down_controlled
from kbroker.metadata.feature_decisions import NEW_CLUSTER_FEATURES
from kbroker.metadata.image import ClusterImage
from kbroker.metadata.keys import broker_key
from kbroker.metadata.membership import BrokerSession, ensure_cluster_id, ensure_features
from kbroker.metadata.store import MetadataStore, StoreError, StoreUnavailableError
from kbroker.metadata_stores import StoreAccess, store_access
from kbroker.server.socket_server import ListenerBinding, SocketServer
from kbroker.standing import judge_replicas, watch_session
from kbroker.world import Address, World
from storage.errors import DirectoryInUseError, IncompatibleDirectoryError, StorageError
from storage.log_manager import LogManager, storage_files_max
from storage.replica_register import Standing
from storage.topic_partition import TopicPartition
from wire.errors import ApiError, ErrorCode

logger = logging.getLogger(__name__)

_CLOSE_DEADLINE_S = 60.0
_FORMER_LIFE_LOOK_S = 0.25
_RETRY_S = 0.25

AnswerT = TypeVar("AnswerT")


class StartError(Exception):
    """The broker cannot start; the message is for whoever typed the command."""


@dataclass(frozen=True, slots=True)
class BrokerReady:
    """What a started broker says of itself; ``str()`` is the line that ``kbroker serve`` prints."""

    node_id: int
    cluster_id: str
    listeners: dict[str, Address]

    @property
    def bootstrap(self) -> str:
        """Address of the first listener, as clients on this machine can use it."""
        address = next(iter(self.listeners.values()))
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "localhost"}.get(address.host, address.host)
        return str(Address(host, address.port))

    def __str__(self) -> str:
        return f"kbroker ready bootstrap={self.bootstrap} node.id={self.node_id} cluster.id={self.cluster_id}"


class Broker:
    """Start it with ``ready = await nursery.start(broker.run)``; ``stop`` it and ``await wait_stopped()``."""

    def __init__(
        self,
        *,
        config: BrokerConfig,
        world: World,
        store: StoreAccess | None = None,
        container_gateway: str | None = None,
        wait_for_companions: Callable[[], Awaitable[None]] | None = None,
        brokers_in_process: int = 1,
    ) -> None:
        """``wait_for_companions`` returns when the other brokers of this process are registered as well: before that,
        this one must not take them for gone. ``brokers_in_process`` share the descriptors that the process may have.

        ``store``: where the cluster's metadata is, if not where the configuration says.

        ``container_gateway``: where connections through a container's published port come from.
        """
        self._config = config
        self._container_gateway = container_gateway
        self._world = world
        self._store_access = store or store_access(config, world)
        self._wait_for_companions = wait_for_companions
        self._files_max = world.filesystem.open_files_max() // brokers_in_process
        self._is_controlled = True
        self._office = trio.CancelScope()
        self._watch = trio.CancelScope()
        self._parts: BrokerParts | None = None
        self._stop_requested = trio.Event()
        self._stopped = trio.Event()
        self._failure: Exception | None = None

    @property
    def node_id(self) -> int:
        return self._config.node_id

    def stop(self, *, controlled: bool = True) -> None:
        """Ask for a clean stop; ``run`` returns when it is done.

        ``controlled``: hand leadership over first. Else the whole cluster goes, and nobody is to take over.
        """
        self._is_controlled = controlled
        if not controlled:
            self._office.cancel()
        self._stop_requested.set()

    async def wait_settled(self, timeout_s: float = 10.0) -> None:
        """Wait, but not for ever, until every partition that can have a leader has one."""
        assert self._parts is not None, "the broker has not started"
        with trio.move_on_after(timeout_s):
            await self._parts.metadata.wait_until(is_settled)

    def _fail(self, failure: Exception) -> None:
        """End without a clean stop: there is nothing left to serve from."""
        self._failure = failure
        self._stop_requested.set()

    async def wait_stopped(self) -> None:
        await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[BrokerReady] = trio.TASK_STATUS_IGNORED) -> None:
        """Start, serve until ``stop``, and stop cleanly.

        StartError if it cannot start, NoLogDirectoryLeft if every log directory failed.
        """
        try:
            logs, known_id = await self._lock_logs()
            try:
                await self._run_with_logs(logs, known_id, task_status)
            finally:
                await self._finally(self._world.run_blocking(logs.abandon))
        finally:
            self._stopped.set()

    async def _lock_logs(self) -> tuple[LogManager, str | None]:
        """The logs, not opened yet, and the id of the cluster that they belong to, if they belong to one."""
        world, config = self._world, self._config
        logs = LogManager(
            config.log_directories,
            filesystem=world.filesystem,
            clock_ms=world.wall_clock_ms,
            random_uuid=world.uuid4,
            random_below=world.random.randrange,
            open_files_max=storage_files_max(self._files_max),
            producer_id_expiration_ms=config.producer_id_expiration_ms,
            requires_verification=lambda: config.transaction_partition_verification_enable,
        )
        try:
            known_id: str | None = await world.run_blocking(logs.lock, config.cluster_id)
        except (DirectoryInUseError, IncompatibleDirectoryError, StorageError, ValueError) as error:
            raise StartError(str(error)) from error
        return logs, known_id

    async def _run_with_logs(
        self, logs: LogManager, known_id: str | None, task_status: trio.TaskStatus[BrokerReady]
    ) -> None:
        try:
            store = await self._store_access.open()
        except StoreError as error:
            raise StartError(f"the cluster metadata cannot be opened: {error}") from error
        try:
            await self._join_cluster(logs, known_id, store)
            await self._run_with_store(logs, store, task_status)
        finally:
            await self._finally(self._store_access.close())

    async def _join_cluster(self, logs: LogManager, known_id: str | None, store: MetadataStore) -> None:
        """Settle which cluster this is, which the data directories and the metadata must agree on."""
        try:
            await self._patiently(lambda: take_over_at_start(self._config, self._world, store, known_id))
            cluster_id = await self._patiently(
                lambda: ensure_cluster_id(store, uuid4=self._world.uuid4, wanted=known_id)
            )
            await self._patiently(lambda: ensure_features(store, NEW_CLUSTER_FEATURES))
        except StoreError as error:
            raise StartError(f"the cluster metadata cannot be used: {error}") from error
        if known_id not in (None, cluster_id):
            raise StartError(
                f"the data directories belong to cluster {known_id}, the metadata to cluster {cluster_id}"
            )
        try:
            await self._world.run_blocking(logs.adopt, self._config.node_id, cluster_id)
        except (IncompatibleDirectoryError, StorageError) as error:
            raise StartError(str(error)) from error

    async def _finally(self, closing: Awaitable[object]) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_DEADLINE_S):
            await closing

    async def _run_with_store(
        self, logs: LogManager, store: MetadataStore, task_status: trio.TaskStatus[BrokerReady]
    ) -> None:
        parts = BrokerParts(
            config=self._config,
            world=self._world,
            logs=logs,
            store=store,
            container_gateway=self._container_gateway,
            files_max=self._files_max,
            on_no_directory_left=self._fail,
        )
        self._parts = parts
        bound = await self._bind(parts.server)
        session = parts.make_session(bound)
        async with trio.open_nursery() as background:
            background.start_soon(self._store_access.run)
            await self._start_data(parts, background)
            membership = await background.start(self._stay_member, session)
            await self._start_service(parts, session, background)
            task_status.started(BrokerReady(self._config.node_id, logs.cluster_id, bound))
            await self._stop_requested.wait()
            if self._failure is not None:
                raise self._failure
            await self._stop(parts, session, membership)
            background.cancel_scope.cancel()

    async def _start_data(self, parts: BrokerParts, background: trio.Nursery) -> None:
        """Open the logs, bring the partitions into the state that the metadata gives, and follow it from there."""
        metadata, publisher, replicas = parts.metadata, parts.publisher, parts.replicas
        await background.start(parts.commits.run, replicas.sync_failed)
        try:
            image = await self._patiently(metadata.load)
        except StoreError as error:
            raise StartError(f"the cluster metadata cannot be read: {error}") from error
        await self._load_logs(parts, image)
        # Before the logs that are missing are made anew, and look like any other.
        image = await self._tell_of_own_replicas(parts, image)
        await background.start(parts.fetchers.run)
        background.start_soon(parts.in_sync_changes.run)
        replicas.remove_strays(
            lambda name, topic_id: is_placed(image, self._config.node_id, name, topic_id),
            lambda topic, topic_id: was_removed(image, topic, topic_id),
        )
        await publisher.publish_all(image)
        parts.deletions.add(
            topic_id
            for topic_id, deletion in image.deleted_topics.items()
            if self._config.node_id in deletion.node_ids
        )
        metadata.subscribe(publisher.publish)
        metadata.subscribe(parts.look_for_given_up)
        parts.enforce_quotas(image.client_quotas)
        metadata.subscribe(parts.look_for_quotas)
        background.start_soon(metadata.run)

    async def _tell_of_own_replicas(self, parts: BrokerParts, image: ClusterImage) -> ClusterImage:
        """Nobody is to count on replicas that the disk has lost; only then do new logs take their place.

        The image may be a newer one afterwards.
        """
        logs, controller, run_blocking = parts.logs, parts.controller, self._world.run_blocking
        found = judge_replicas(image, self._config.node_id, logs)
        try:
            if found.unfit:
                logger.error(
                    "%d replicas have lost records, and are copied anew from others", len(found.unfit)
                )
                # What a failed directory has is not lost: it may come back with it, and nothing is made in its place.
                lost = {
                    name: topic_id
                    for (topic_id, _), name in found.unfit.items()
                    if logs.registers.has_new_directory or not logs.may_be_out_of_reach(name)
                }
                await run_blocking(logs.registers.mark_replicas, lost, Standing.LOST)
                await self._wait_for_end_of_former_life(parts.store)
                # Until then leaders may have gone on counting it in.
                image = await self._patiently(parts.metadata.load)
                found = judge_replicas(image, self._config.node_id, logs)
                await self._patiently(lambda: controller.resign(list(found.unfit)))
                await run_blocking(logs.registers.mark_replicas, lost, Standing.RESIGNED)
            if found.whole:
                await self._patiently(lambda: controller.reclaim(list(found.whole)))
            await run_blocking(
                logs.registers.forget_replicas, lambda name, topic_id: topic_id in image.topics_by_id
            )
            return image
        except (ApiError, StorageError, StoreError) as error:
            raise StartError(f"lost replicas cannot be reported: {error}") from error

    async def _wait_for_end_of_former_life(self, store: MetadataStore) -> None:
        """Until nobody is registered with this node id.

        Before that, a leader might still have the former life of this broker join an in-sync set. And if that life is
        not over, but another broker runs with the same node id, its replicas are none of ours to give up.
        """
        key, node_id = broker_key(self._config.node_id), self._config.node_id
        deadline = self._world.monotonic() + self._config.initial_broker_registration_timeout_ms / 1000
        while await self._patiently(lambda: store.get(key)) is not None:
            if self._world.monotonic() >= deadline:
                raise ApiError(
                    ErrorCode.DUPLICATE_BROKER_REGISTRATION,
                    f"Another broker with node id {node_id} is running.",
                )
            await self._world.sleep(_FORMER_LIFE_LOOK_S)

    async def _patiently(self, action: Callable[[], Awaitable[AnswerT]]) -> AnswerT:
        """The answer of a store that may still be starting, as this broker is."""
        deadline = self._world.monotonic() + self._config.initial_broker_registration_timeout_ms / 1000
        while True:
            try:
                return await action()
            except (StoreUnavailableError, ApiError) as error:
                is_unreachable = (
                    isinstance(error, StoreUnavailableError) or error.code is ErrorCode.REQUEST_TIMED_OUT
                )
                if not is_unreachable or self._world.monotonic() >= deadline:
                    raise
                logger.warning("the cluster metadata cannot be reached yet: %s", error)
            await self._world.sleep(_RETRY_S)

    async def _start_service(
        self, parts: BrokerParts, session: BrokerSession, background: trio.Nursery
    ) -> None:
        # Nobody is told of a cluster without brokers.
        await parts.metadata.wait_for(session.revision)
        for run in (
            parts.peers.run,
            parts.cluster_transactions.run,
            parts.groups.run,
            parts.transactions.run,
            parts.housekeeping.run,
            parts.moves.run,
            parts.cleaning.run,
        ):
            await background.start(run)
        background.start_soon(parts.resignations.run)
        background.start_soon(parts.deletions.run)
        background.start_soon(parts.reclamations.run)
        background.start_soon(self._stand_for_controller, parts)
        parts.standing_changed(True)  # coordinators could not be loaded before there was a session
        background.start_soon(self._watch_standing, parts, session)
        await background.start(parts.server.run)

    async def _stand_for_controller(self, parts: BrokerParts) -> None:
        with self._office:
            if self._wait_for_companions is not None:
                await self._wait_for_companions()
            await parts.elected_controller.run()

    async def _watch_standing(self, parts: BrokerParts, session: BrokerSession) -> None:
        with self._watch:
            await watch_session(
                session,
                parts.is_secure,
                parts.is_in_doubt,
                self._world,
                parts.standing_changed,
                parts.replicas.standing_changed,
            )

    async def _stop(self, parts: BrokerParts, session: BrokerSession, membership: trio.CancelScope) -> None:
        config = self._config
        if config.controlled_shutdown_enable and self._is_controlled:
            await shut_down_controlled(
                session,
                parts.metadata,
                config.node_id,
                timeout_s=config.kbroker_shutdown_timeout_ms / 1000,
                monotonic=self._world.monotonic,
            )
        # From here on nobody waits: long polls are answered with what there is, joining members are sent
        # elsewhere, requests in hand finish, and only then are the logs closed under them.
        parts.replicas.stop()
        parts.transactions.stop()
        parts.groups.stop()
        await parts.server.stop(config.kbroker_shutdown_timeout_ms / 1000)
        membership.cancel()
        self._watch.cancel()  # a session that is given back has not been lost
        await session.leave()
        # Closing works in another thread: nobody else may touch the logs by then.
        await parts.fetchers.stop()
        parts.peers.close()
        await parts.moves.stop()
        await parts.housekeeping.stop()
        await parts.cleaning.stop()
        await parts.commits.stop()
        await self._world.run_blocking(parts.logs.close)

    async def _load_logs(self, parts: BrokerParts, image: ClusterImage) -> None:
        logs, publisher = parts.logs, parts.publisher

        def is_replicated(name: TopicPartition) -> bool:
            state = image.partition(name.topic, name.partition)
            return state is not None and len(state.replicas) > 1

        def topic_id(name: str) -> uuid.UUID | None:
            topic = image.topic(name)
            return None if topic is None else topic.topic_id

        try:
            await self._world.run_blocking(
                logs.load, lambda topic: publisher.log_config(image, topic), is_replicated, topic_id
            )
        except (StorageError, IncompatibleDirectoryError) as error:
            raise StartError(str(error)) from error
        for finding in logs.findings:
            logger.error("%s", finding)

    async def _bind(self, server: SocketServer) -> dict[str, Address]:
        bindings = [
            ListenerBinding(endpoint.listener_name, endpoint.host, endpoint.port)
            for endpoint in self._config.endpoints
        ]
        try:
            return await server.bind(bindings)
        except OSError as error:
            raise StartError(error.strerror or str(error)) from error

    async def _stay_member(
        self, session: BrokerSession, *, task_status: trio.TaskStatus[trio.CancelScope]
    ) -> None:
        """Register, which may not be possible, and stay registered until the scope it reports is cancelled."""
        try:
            await session.register()
        except (ApiError, StoreError) as error:
            raise StartError(f"the broker cannot join the cluster: {error}") from error
        with trio.CancelScope() as scope:
            task_status.started(scope)
            await session.run()


def is_settled(image: ClusterImage) -> bool:
    """Whether there is a controller, and nothing that it has to do about leaders."""
    return image.controller is not None and all(
        state.leader >= 0 or not any(image.is_active(node_id) for node_id in state.in_sync_replicas)
        for topic in image.topics.values()
        for state in topic.partitions
    )
