"""Carries out what changes the cluster: topics, partitions, configs, features, blocks of producer ids.

What is asked for about partitions that exist is in ``partition_controller``, which this builds on.

Every broker has a controller and each may act at any time. A decision is made on the broker's current
image (``topic_decisions``, ``config_decisions``) and written with comparisons of everything that it
rests on; if something changed meanwhile, nothing is written and the decision is made again on the newer
image. When a method returns, the broker's image holds the change and its listeners have acted on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Final, Protocol
from uuid import UUID

from kbroker.config.resources import ConfigResourceType
from kbroker.config.topic_names import (
    CLUSTER_METADATA_TOPIC,
    collision_key,
    validate_topic_name,
)
from kbroker.metadata import keys
from kbroker.metadata.config_decisions import (
    ConfigChange,
    ConfigRules,
    decide_incremental,
    decide_replacement,
)
from kbroker.metadata.decision_writer import ATTEMPTS_MAX, Write, lost_every_race, reachable
from kbroker.metadata.feature_decisions import FeatureChange, decide_features
from kbroker.metadata.follower import ClusterMetadata
from kbroker.metadata.image import ClusterImage, ConfigResource, PartitionState
from kbroker.metadata.partition_controller import PartitionController, PartitionSettings
from kbroker.metadata.quota_decisions import decide_quotas, settled_changes
from kbroker.metadata.store import (
    ABSENT,
    Compare,
    Delete,
    DeletePrefix,
    MetadataStore,
    Operation,
    Put,
)
from kbroker.metadata.topic_decisions import (
    USE_DEFAULT,
    CreatableTopic,
    births_of,
    check_addition_size,
    check_new_topic_name,
    check_request_size,
    collision_error,
    configs_of,
    decide_more_partitions,
    decide_partitions,
)
from kbroker.quotas.entities import ClientQuotaEntity, QuotaChange
from wire.errors import ApiError, ErrorCode
from wire.messages.topics import CreatePartitionsRequest, CreateTopicsResponse

logger = logging.getLogger(__name__)

PRODUCER_ID_BLOCK_SIZE: Final = 1000
_PRODUCER_ID_MAX: Final = 2**63 - 1

Charge = Callable[[int], None]
"""Counts partitions that are about to be created or deleted; ApiError THROTTLING_QUOTA_EXCEEDED: not now."""

CreatableTopicResult = CreateTopicsResponse.CreatableTopicResult
CreatePartitionsTopic = CreatePartitionsRequest.CreatePartitionsTopic


class InternalTopicSettings(Protocol):
    """How one of the broker's own topics is to be made."""

    @property
    def partition_count(self) -> int: ...

    @property
    def replication_factor(self) -> int: ...

    @property
    def configs(self) -> Mapping[str, str]: ...


class ControllerSettings(PartitionSettings, Protocol):
    """What the broker's configs say; read anew for every decision."""

    @property
    def num_partitions(self) -> int: ...

    @property
    def default_replication_factor(self) -> int: ...

    def internal_topic(self, name: str) -> InternalTopicSettings | None:
        """None for topics that are not the broker's own."""
        ...


class Controller(PartitionController):
    """See the module's docstring. Every public method raises ApiError.

    REQUEST_TIMED_OUT stands for a store that could not be reached, or an image that does not follow it: whether the
    change happened is then unknown, as with any request that timed out. Do not call a controller from a metadata
    listener.
    """

    def __init__(
        self,
        *,
        node_id: int,
        store: MetadataStore,
        metadata: ClusterMetadata,
        settings: ControllerSettings,
        config_rules: ConfigRules,
        random: Random,
        uuid4: Callable[[], UUID],
    ) -> None:
        super().__init__(node_id=node_id, store=store, metadata=metadata, settings=settings)
        self._settings = settings
        self._config_rules = config_rules
        self._random = random
        self._uuid4 = uuid4
        self._reduced_replication_told = False

    # Topics

    async def create_topics(
        self,
        topics: Sequence[CreatableTopic],
        *,
        validate_only: bool = False,
        charge: Charge | None = None,
    ) -> list[CreatableTopicResult]:
        """One result for each topic, in their order; the names must differ from one another."""
        charges = _Charges(charge)
        results: dict[str, CreatableTopicResult] = {}
        try:
            check_request_size(topics, self._settings.num_partitions)
        except ApiError as error:
            return [_failed_topic(topic.name, error) for topic in topics]

        def decide(pending: Sequence[CreatableTopic]) -> list[Write]:
            return self._decide_topics(pending, results, charges)

        await self._writer.carry_out(topics, decide, validate_only=validate_only)
        return [results[topic.name] for topic in topics]

    async def auto_create_topics(
        self, names: Iterable[str], charge: Charge | None = None
    ) -> dict[str, ApiError | None]:
        """Make topics that somebody wants to use; None for those that exist now, whoever made them.

        Internal topics are made as their own configs say, all others with the defaults.
        """
        wanted = list(dict.fromkeys(names))
        outcome: dict[str, ApiError | None] = dict.fromkeys(wanted)
        if CLUSTER_METADATA_TOPIC in outcome:
            outcome[CLUSTER_METADATA_TOPIC] = ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            wanted.remove(CLUSTER_METADATA_TOPIC)
        for name in wanted:
            # Refused here, and not behind a barrier of the store: clients ask for the same wrong name over and over.
            try:
                validate_topic_name(name)
            except ApiError as error:
                outcome[name] = error
        missing = [name for name in wanted if not outcome[name] and name not in self._metadata.image.topics]
        topics = [self._topic_by_default(name) for name in missing]
        for result in await self.create_topics(topics, charge=charge):
            if result.error_code not in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS):
                outcome[result.name] = ApiError(ErrorCode(result.error_code), result.error_message)
        return outcome

    def _topic_by_default(self, name: str) -> CreatableTopic:
        internal = self._settings.internal_topic(name)
        if internal is None:
            return CreatableTopic(name=name, num_partitions=USE_DEFAULT, replication_factor=USE_DEFAULT)
        return CreatableTopic(
            name=name,
            num_partitions=internal.partition_count,
            replication_factor=self._possible_replication_factor(name, internal.replication_factor),
            configs=[
                CreatableTopic.CreatableTopicConfig(name=key, value=value)
                for key, value in internal.configs.items()
            ],
        )

    def _possible_replication_factor(self, name: str, wanted: int) -> int:
        """Internal topics must come into being on one broker too, whatever their configs ask for."""
        available = sum(broker.is_active for broker in self._metadata.image.brokers.values())
        if wanted <= available or available == 0:
            return wanted
        if not self._reduced_replication_told:
            self._reduced_replication_told = True
            logger.warning(
                "internal topic %s gets replication factor %d instead of %d: there are no more brokers",
                name,
                available,
                wanted,
            )
        return available

    def _decide_topics(
        self,
        topics: Sequence[CreatableTopic],
        results: dict[str, CreatableTopicResult],
        charges: _Charges,
    ) -> list[Write]:
        image = self._metadata.image
        writes: list[Write] = []
        claimed: dict[str, str] = {}
        for topic in topics:
            try:
                write, results[topic.name] = self._decide_topic(image, topic, claimed, charges)
                writes.append(write)
            except ApiError as error:
                results[topic.name] = _failed_topic(topic.name, error)
        return writes

    def _decide_topic(
        self, image: ClusterImage, topic: CreatableTopic, claimed: dict[str, str], charges: _Charges
    ) -> tuple[Write, CreatableTopicResult]:
        check_new_topic_name(image, topic.name)
        other = claimed.get(collision_key(topic.name))
        if other is not None:
            raise collision_error(topic.name, other)
        configs = configs_of(topic)
        resource = (ConfigResourceType.TOPIC, topic.name)
        if configs:
            self._config_rules.validate_overrides(resource, configs)
        births = decide_partitions(
            image,
            topic,
            default_partition_count=self._settings.num_partitions,
            default_replication_factor=self._settings.default_replication_factor,
            random=self._random,
        )
        charges.charge(topic.name, len(births))
        claimed[collision_key(topic.name)] = topic.name
        topic_id = self._uuid4()
        key = keys.topic_key(topic.name)
        operations: list[Operation] = [Put(key, keys.encode_topic(topic.name, topic_id, births))]
        if configs:
            operations.append(Put(keys.config_key(resource), keys.encode_config(configs)))
        write = Write(topic, (Compare(key, ABSENT),), tuple(operations))
        return write, self._created_topic(image, topic.name, topic_id, births, configs)

    def _created_topic(
        self,
        image: ClusterImage,
        name: str,
        topic_id: UUID,
        births: Sequence[PartitionState],
        configs: Mapping[str, str],
    ) -> CreatableTopicResult:
        effective = self._config_rules.effective_topic_configs(
            configs, image.broker_config(self._node_id), image.config((ConfigResourceType.BROKER, ""))
        )
        return CreatableTopicResult(
            name=name,
            topic_id=topic_id,
            error_message=None,
            num_partitions=len(births),
            replication_factor=len(births[0].replicas),
            configs=[
                CreatableTopicResult.CreatableTopicConfigs(
                    name=config.name,
                    value=None if config.is_sensitive else config.value,
                    read_only=config.is_read_only,
                    config_source=config.source,
                    is_sensitive=config.is_sensitive,
                )
                for config in effective
            ],
        )

    async def delete_topics(
        self, topic_ids: Sequence[UUID], *, charge: Charge | None = None
    ) -> dict[UUID, ApiError | None]:
        """None for each topic that is gone now; UNKNOWN_TOPIC_ID for ids of no topic.

        Its logs are removed by the brokers that have some; ``deletion_done`` is how they say that they have not.
        """
        outcome: dict[UUID, ApiError | None] = {}
        charges = _Charges(charge)

        def decide(pending: Sequence[UUID]) -> list[Write]:
            writes = []
            for topic_id in pending:
                topic = self._metadata.image.topic_by_id(topic_id)
                if topic is None:
                    outcome[topic_id] = ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
                    continue
                try:
                    charges.charge(topic_id, len(topic.partitions))
                except ApiError as error:
                    outcome[topic_id] = error
                    continue
                outcome[topic_id] = None
                key = keys.topic_key(topic.name)
                holders = sorted({node_id for state in topic.partitions for node_id in state.replicas})
                operations = (
                    Delete(key),
                    Delete(keys.config_key((ConfigResourceType.TOPIC, topic.name))),
                    DeletePrefix(keys.partitions_prefix(topic_id)),
                    Put(keys.deleted_topic_key(topic_id), keys.encode_deleted_topic(topic.name, holders)),
                )
                writes.append(Write(topic_id, (Compare(key, topic.revision),), operations))
            return writes

        await self._writer.carry_out(list(dict.fromkeys(topic_ids)), decide)
        return outcome

    async def create_partitions(
        self,
        topics: Sequence[CreatePartitionsTopic],
        *,
        validate_only: bool = False,
        charge: Charge | None = None,
    ) -> dict[str, ApiError | None]:
        """Let topics grow to ``count`` partitions; the names must differ. None where it was done."""
        outcome: dict[str, ApiError | None] = {}
        charges = _Charges(charge)
        await self.catch_up()
        try:
            check_addition_size(self._metadata.image, {topic.name: topic.count for topic in topics})
        except ApiError as error:
            return {topic.name: error for topic in topics}

        def decide(pending: Sequence[CreatePartitionsTopic]) -> list[Write]:
            writes = []
            for topic in pending:
                try:
                    writes.append(self._decide_growth(topic, charges))
                    outcome[topic.name] = None
                except ApiError as error:
                    outcome[topic.name] = error
            return writes

        await self._writer.carry_out(topics, decide, validate_only=validate_only, has_caught_up=True)
        return outcome

    def _decide_growth(self, request: CreatePartitionsTopic, charges: _Charges) -> Write:
        assignments = request.assignments
        topic, births = decide_more_partitions(
            self._metadata.image,
            request.name,
            request.count,
            None if assignments is None else [assignment.broker_ids for assignment in assignments],
            self._random,
        )
        charges.charge(topic.name, len(births))
        key = keys.topic_key(topic.name)
        value = keys.encode_topic(topic.name, topic.topic_id, births_of(topic) + births)
        return Write(request, (Compare(key, topic.revision),), (Put(key, value),))

    # Configs

    async def incremental_alter_configs(
        self,
        changes: Mapping[ConfigResource, Sequence[ConfigChange]],
        *,
        validate_only: bool = False,
    ) -> dict[ConfigResource, ApiError | None]:
        """Set, delete, append to and subtract from single configs (KIP-339); each resource by itself."""

        def entries_of(resource: ConfigResource) -> dict[str, str]:
            return decide_incremental(self._metadata.image, resource, changes[resource], self._config_rules)

        return await self._alter_configs(list(changes), entries_of, validate_only)

    async def replace_configs(
        self,
        replacements: Mapping[ConfigResource, Mapping[str, str | None]],
        *,
        validate_only: bool = False,
    ) -> dict[ConfigResource, ApiError | None]:
        """Put new entries in place of all those that a resource had: AlterConfigs, the older API."""

        def entries_of(resource: ConfigResource) -> dict[str, str]:
            return decide_replacement(
                self._metadata.image, resource, replacements[resource], self._config_rules
            )

        return await self._alter_configs(list(replacements), entries_of, validate_only)

    async def _alter_configs(
        self,
        resources: Sequence[ConfigResource],
        entries_of: Callable[[ConfigResource], dict[str, str]],
        validate_only: bool,
    ) -> dict[ConfigResource, ApiError | None]:
        outcome: dict[ConfigResource, ApiError | None] = {}

        def decide(pending: Sequence[ConfigResource]) -> list[Write]:
            writes = []
            for resource in pending:
                try:
                    entries = entries_of(resource)
                except ApiError as error:
                    outcome[resource] = error
                    continue
                outcome[resource] = None
                write = self._config_write(resource, entries)
                if write is not None:
                    writes.append(write)
            return writes

        await self._writer.carry_out(resources, decide, validate_only=validate_only)
        return outcome

    def _config_write(self, resource: ConfigResource, entries: dict[str, str]) -> Write | None:
        image = self._metadata.image
        # Setting a broker's config to what it is already makes the broker read again what the value
        # names, such as a key store's file (KAFKA-14136); other resources have nothing to gain from it.
        if entries == image.config(resource) and resource[0] != ConfigResourceType.BROKER:
            return None
        key = keys.config_key(resource)
        compares = [Compare(key, image.config_revisions.get(resource, ABSENT))]
        if resource[0] == ConfigResourceType.TOPIC:
            # A topic deleted meanwhile must not leave configs behind for the next of its name.
            name = resource[1]
            compares.append(Compare(keys.topic_key(name), image.topics[name].revision))
        operation: Operation = Put(key, keys.encode_config(entries)) if entries else Delete(key)
        return Write(resource, tuple(compares), (operation,))

    # Client quotas

    async def alter_client_quotas(
        self, changes: Sequence[QuotaChange], *, validate_only: bool = False
    ) -> dict[ClientQuotaEntity, ApiError | None]:
        """Set quotas of entities and take them away; each entity by itself."""
        wanted, refused = settled_changes(changes)
        outcome: dict[ClientQuotaEntity, ApiError | None] = {}

        def decide(pending: Sequence[ClientQuotaEntity]) -> list[Write]:
            image = self._metadata.image
            writes = []
            for entity in pending:
                current = image.client_quotas.get(entity, {})
                try:
                    quotas = decide_quotas(entity, current, wanted[entity])
                except ApiError as error:
                    outcome[entity] = error
                    continue
                outcome[entity] = None
                if quotas != current:
                    key = keys.client_quotas_key(entity)
                    compare = Compare(key, image.client_quota_revisions.get(entity, ABSENT))
                    put_or_delete = Put(key, keys.encode_client_quotas(quotas)) if quotas else Delete(key)
                    writes.append(Write(entity, (compare,), (put_or_delete,)))
            return writes

        await self._writer.carry_out(list(wanted), decide, validate_only=validate_only)
        return {entity: refused.get(entity, outcome.get(entity)) for entity, _ in changes}

    # Features

    async def update_features(
        self, changes: Sequence[tuple[str, int, int]], *, validate_only: bool = False
    ) -> None:
        """Change feature levels by (feature, level, ``UpgradeType``), all or none; INVALID_UPDATE_VERSION."""
        wanted = [FeatureChange(*change) for change in changes]
        for _ in range(ATTEMPTS_MAX):
            found = await reachable(self._store.get(keys.FEATURES_KEY))
            levels = {} if found is None else keys.decode_features(found.value)
            changed = decide_features(levels, wanted, self._node_id)
            if validate_only or changed == levels:
                return
            result = await reachable(
                self._store.transact(
                    [Compare(keys.FEATURES_KEY, ABSENT if found is None else found.mod_revision)],
                    [Put(keys.FEATURES_KEY, keys.encode_features(changed))],
                )
            )
            if result.succeeded:
                await self._writer.wait_for(result.revision)
                return
        raise lost_every_race()

    # Producer ids

    async def allocate_producer_id_block(self) -> range:
        """The next PRODUCER_ID_BLOCK_SIZE producer ids; no id is ever given out twice."""
        for _ in range(ATTEMPTS_MAX):
            found = await reachable(self._store.get(keys.PRODUCER_IDS_KEY))
            first = 0 if found is None else keys.decode_producer_ids(found.value)
            if first > _PRODUCER_ID_MAX - PRODUCER_ID_BLOCK_SIZE:
                raise ApiError(ErrorCode.UNKNOWN_SERVER_ERROR, "There are no producer ids left.")
            following = first + PRODUCER_ID_BLOCK_SIZE
            result = await reachable(
                self._store.transact(
                    [Compare(keys.PRODUCER_IDS_KEY, ABSENT if found is None else found.mod_revision)],
                    [Put(keys.PRODUCER_IDS_KEY, keys.encode_producer_ids(following))],
                )
            )
            if result.succeeded:
                return range(first, following)
        raise lost_every_race()


def _failed_topic(name: str, error: ApiError) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=error.code, error_message=error.message)


class _Charges:
    """Charges each subject of a request for its partitions once, and for more of them if it is decided about again."""

    def __init__(self, charge: Charge | None) -> None:
        self._charge = charge
        self._charged: dict[object, int] = {}
        self._refusals: dict[object, ApiError] = {}

    def charge(self, subject: object, partitions: int) -> None:
        """ApiError THROTTLING_QUOTA_EXCEEDED, again each time."""
        if self._charge is None:
            return
        if subject in self._refusals:
            raise self._refusals[subject]
        further = partitions - self._charged.get(subject, 0)
        if further > 0:
            try:
                self._charge(further)
            except ApiError as error:
                self._refusals[subject] = error
                raise
            self._charged[subject] = partitions
