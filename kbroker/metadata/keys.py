"""The layout of the metadata store: which keys there are and what their JSON values say.

    cluster                        {"version", "cluster_id"}
    features                       {"version", "levels": {name: level}}
    controller                     {"version", "node_id", "controller_epoch"}          under a lease
    controller-epoch               {"version", "controller_epoch"}
    producer-ids                   {"version", "next_producer_id"}
    brokers/<node id>              {"version", "broker_epoch", "incarnation_id", "rack",
                                    "fenced", "in_controlled_shutdown",
                                    "endpoints": {listener: [host, port, protocol]}}   under a lease
    topics/<collision key>         {"version", "name", "topic_id", "replicas": [[node id, ...], ...],
                                    "in_sync": {partition: [node id, ...]}}
    partitions/<topic id>/<index>  {"version", "replicas", "in_sync", "leader", "leader_epoch",
                                    "partition_epoch", "elr", "last_known_elr", "adding", "removing",
                                    "recovering": true, only if it is}
    deleted-topics/<topic id>      {"version", "name", "node_ids"}
    configs/<type>/<name>          {"version", "entries": {name: value}}
    client-quotas/<entity>         {"version", "quotas": {key: value}}
    barrier                        nothing; see etcd.py
    kafka-import                   {"version", "log": {segment: bytes}}   see kraft_import.py
    kafka-import-begun             a mark, only while an import is under way

A topic's key says how its partitions were born: on which replicas, all of them in sync unless
"in_sync" says otherwise, led by the first one in sync, in epoch 0. A partition gets a key of its own
when its state first changes, and that key then says all. So a topic is created in one write however
many partitions it has, ten thousand untouched partitions are read back in a moment, and yet each
partition's state is compared and set by itself.

A deleted topic leaves a key behind that names the brokers which may still have logs of it. Each takes
itself out when it has none any more, the last one removes the key: so a broker that was away during the
deletion knows, when it is back, that the logs are to go.

An entity of client quotas is its parts, "<type>=<name>" or, for everybody without a quota of their own, "<type>",
with '/' between them. Names are percent-encoded.

A topic's key is its name with '.' turned into '_': that two topics whose names collide (see
topic_names.py) never both exist is thus a property of the store, whoever writes to it.

"version" is the version of one value's layout. A reader takes the versions that it knows and refuses
others, so that an old broker never misreads what a newer one wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import UUID

from kbroker.config.resources import ConfigResourceType
from kbroker.config.topic_names import collision_key
from kbroker.metadata.image import (
    NO_LEADER,
    BrokerRegistration,
    ConfigResource,
    ControllerRegistration,
    DeletedTopic,
    Endpoint,
    PartitionState,
)
from kbroker.metadata.store import StoreFormatError
from kbroker.quotas.entities import ClientQuotaEntity, entity_of

CLUSTER_KEY: Final = "cluster"
FEATURES_KEY: Final = "features"
CONTROLLER_KEY: Final = "controller"
CONTROLLER_EPOCH_KEY: Final = "controller-epoch"
PRODUCER_IDS_KEY: Final = "producer-ids"
BROKERS_PREFIX: Final = "brokers/"
TOPICS_PREFIX: Final = "topics/"
PARTITIONS_PREFIX: Final = "partitions/"
CONFIGS_PREFIX: Final = "configs/"
CLIENT_QUOTAS_PREFIX: Final = "client-quotas/"
DELETED_TOPICS_PREFIX: Final = "deleted-topics/"
KAFKA_IMPORT_KEY: Final = "kafka-import"
KAFKA_IMPORT_BEGUN_KEY: Final = "kafka-import-begun"

VALUE_VERSION: Final = 1

_CONFIG_TYPE_NAMES: Final[Mapping[ConfigResourceType, str]] = {
    ConfigResourceType.TOPIC: "topic",
    ConfigResourceType.BROKER: "broker",
    ConfigResourceType.CLIENT_METRICS: "client-metrics",
    ConfigResourceType.GROUP: "group",
}
_CONFIG_TYPES_BY_NAME: Final = {name: type_id for type_id, name in _CONFIG_TYPE_NAMES.items()}


def _encode(fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"version": VALUE_VERSION, **fields}, separators=(",", ":")).encode()


def _decode(key: str, value: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(value)
        version = fields["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreFormatError(f"the value of {key!r} is not what kbroker writes: {error}") from error
    if version != VALUE_VERSION:
        raise StoreFormatError(f"{key!r} was written in layout {version}; this kbroker knows {VALUE_VERSION}")
    assert isinstance(fields, dict)
    return fields


def encode_cluster(cluster_id: str) -> bytes:
    return _encode({"cluster_id": cluster_id})


def decode_cluster(value: bytes) -> str:
    return str(_decode(CLUSTER_KEY, value)["cluster_id"])


def encode_features(levels: Mapping[str, int]) -> bytes:
    return _encode({"levels": dict(levels)})


def decode_features(value: bytes) -> dict[str, int]:
    return dict(_decode(FEATURES_KEY, value)["levels"])


def encode_controller(registration: ControllerRegistration) -> bytes:
    return _encode({"node_id": registration.node_id, "controller_epoch": registration.controller_epoch})


def decode_controller(value: bytes, revision: int = 0) -> ControllerRegistration:
    fields = _decode(CONTROLLER_KEY, value)
    return ControllerRegistration(
        node_id=fields["node_id"], controller_epoch=fields["controller_epoch"], revision=revision
    )


def encode_controller_epoch(controller_epoch: int) -> bytes:
    return _encode({"controller_epoch": controller_epoch})


def decode_controller_epoch(value: bytes) -> int:
    return int(_decode(CONTROLLER_EPOCH_KEY, value)["controller_epoch"])


def encode_producer_ids(next_producer_id: int) -> bytes:
    return _encode({"next_producer_id": next_producer_id})


def decode_producer_ids(value: bytes) -> int:
    return int(_decode(PRODUCER_IDS_KEY, value)["next_producer_id"])


def broker_key(node_id: int) -> str:
    return f"{BROKERS_PREFIX}{node_id}"


def encode_broker(broker: BrokerRegistration) -> bytes:
    return _encode(
        {
            "broker_epoch": broker.broker_epoch,
            "incarnation_id": str(broker.incarnation_id),
            "rack": broker.rack,
            "fenced": broker.fenced,
            "in_controlled_shutdown": broker.in_controlled_shutdown,
            "endpoints": {
                name: [endpoint.host, endpoint.port, endpoint.security_protocol]
                for name, endpoint in broker.endpoints.items()
            },
        }
    )


def decode_broker(
    key: str, value: bytes, *, revision: int = 0, created_revision: int = 0
) -> BrokerRegistration:
    fields = _decode(key, value)
    return BrokerRegistration(
        node_id=int(key[len(BROKERS_PREFIX) :]),
        broker_epoch=fields["broker_epoch"],
        incarnation_id=UUID(fields["incarnation_id"]),
        endpoints={
            name: Endpoint(host, port, protocol)
            for name, (host, port, protocol) in fields["endpoints"].items()
        },
        rack=fields["rack"],
        fenced=fields["fenced"],
        in_controlled_shutdown=fields["in_controlled_shutdown"],
        revision=revision,
        created_revision=created_revision,
    )


def topic_key(name: str) -> str:
    return TOPICS_PREFIX + collision_key(name)


def encode_topic(name: str, topic_id: UUID, births: Sequence[PartitionState]) -> bytes:
    """``births``: the states in which the partitions come into being, by partition index."""
    return _encode(
        {
            "name": name,
            "topic_id": str(topic_id),
            "replicas": [state.replicas for state in births],
            "in_sync": {
                str(index): state.in_sync_replicas
                for index, state in enumerate(births)
                if state.in_sync_replicas != state.replicas
            },
        }
    )


def decode_topic(key: str, value: bytes) -> tuple[str, UUID, list[PartitionState]]:
    """(name, topic id, the states in which the partitions came into being)."""
    fields = _decode(key, value)
    # Partitions on the same replicas are born alike: on one broker a single tuple serves them all.
    born: dict[tuple[int, ...], PartitionState] = {}
    births: list[PartitionState] = []
    for node_ids in fields["replicas"]:
        replicas = tuple(node_ids)
        state = born.get(replicas)
        if state is None:
            state = born[replicas] = newborn_partition(replicas, replicas)
        births.append(state)
    for index, node_ids in fields["in_sync"].items():
        births[int(index)] = newborn_partition(births[int(index)].replicas, tuple(node_ids))
    return fields["name"], UUID(fields["topic_id"]), births


def newborn_partition(replicas: tuple[int, ...], in_sync_replicas: tuple[int, ...]) -> PartitionState:
    leader = in_sync_replicas[0] if in_sync_replicas else NO_LEADER
    return PartitionState(replicas=replicas, in_sync_replicas=in_sync_replicas, leader=leader)


def partitions_prefix(topic_id: UUID) -> str:
    return f"{PARTITIONS_PREFIX}{topic_id}/"


def partition_key(topic_id: UUID, index: int) -> str:
    return f"{PARTITIONS_PREFIX}{topic_id}/{index}"


def parse_partition_key(key: str) -> tuple[UUID, int]:
    topic_id, _, index = key[len(PARTITIONS_PREFIX) :].partition("/")
    return UUID(topic_id), int(index)


def encode_partition(state: PartitionState) -> bytes:
    recovering = {"recovering": True} if state.is_recovering else {}
    return _encode(
        {
            "replicas": state.replicas,
            "in_sync": state.in_sync_replicas,
            "leader": state.leader,
            "leader_epoch": state.leader_epoch,
            "partition_epoch": state.partition_epoch,
            "elr": state.eligible_leader_replicas,
            "last_known_elr": state.last_known_eligible_leader_replicas,
            "adding": state.adding_replicas,
            "removing": state.removing_replicas,
            **recovering,
        }
    )


def decode_partition(key: str, value: bytes, revision: int) -> PartitionState:
    fields = _decode(key, value)
    return PartitionState(
        replicas=tuple(fields["replicas"]),
        in_sync_replicas=tuple(fields["in_sync"]),
        leader=fields["leader"],
        leader_epoch=fields["leader_epoch"],
        partition_epoch=fields["partition_epoch"],
        eligible_leader_replicas=tuple(fields["elr"]),
        last_known_eligible_leader_replicas=tuple(fields["last_known_elr"]),
        adding_replicas=tuple(fields["adding"]),
        removing_replicas=tuple(fields["removing"]),
        state_revision=revision,
        is_recovering=fields.get("recovering", False),
    )


def deleted_topic_key(topic_id: UUID) -> str:
    return f"{DELETED_TOPICS_PREFIX}{topic_id}"


def encode_deleted_topic(name: str, node_ids: Sequence[int]) -> bytes:
    return _encode({"name": name, "node_ids": list(node_ids)})


def decode_deleted_topic(key: str, value: bytes, revision: int) -> DeletedTopic:
    fields = _decode(key, value)
    topic_id = UUID(key[len(DELETED_TOPICS_PREFIX) :])
    return DeletedTopic(fields["name"], topic_id, tuple(fields["node_ids"]), revision)


def config_key(resource: ConfigResource) -> str:
    resource_type, name = resource
    return f"{CONFIGS_PREFIX}{_CONFIG_TYPE_NAMES[ConfigResourceType(resource_type)]}/{name}"


def parse_config_key(key: str) -> ConfigResource:
    type_name, _, name = key[len(CONFIGS_PREFIX) :].partition("/")
    try:
        return _CONFIG_TYPES_BY_NAME[type_name], name
    except KeyError:
        raise StoreFormatError(f"{key!r} configures a kind of resource unknown to this kbroker") from None


def encode_config(entries: Mapping[str, str]) -> bytes:
    return _encode({"entries": dict(entries)})


def decode_config(key: str, value: bytes) -> dict[str, str]:
    return dict(_decode(key, value)["entries"])


def client_quotas_key(entity: ClientQuotaEntity) -> str:
    parts = (
        quote(entity_type, safe="") + ("" if name is None else f"={quote(name, safe='')}")
        for entity_type, name in entity
    )
    return CLIENT_QUOTAS_PREFIX + "/".join(parts)


def parse_client_quotas_key(key: str) -> ClientQuotaEntity:
    names: dict[str, str | None] = {}
    for part in key[len(CLIENT_QUOTAS_PREFIX) :].split("/"):
        entity_type, is_named, name = part.partition("=")
        names[unquote(entity_type)] = unquote(name) if is_named else None
    return entity_of(names)


def encode_client_quotas(quotas: Mapping[str, float]) -> bytes:
    return _encode({"quotas": dict(quotas)})


def decode_client_quotas(key: str, value: bytes) -> dict[str, float]:
    return {name: float(limit) for name, limit in _decode(key, value)["quotas"].items()}
