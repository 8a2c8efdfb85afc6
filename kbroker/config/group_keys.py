"""The config keys of a group, with the broker key that gives each its default.

Kafka's names, types, defaults and bounds (``GroupConfig``; KIP-848, KIP-932, KIP-1071).
"""

from __future__ import annotations

from kbroker.config.declare import LOW, boolean, int32, int64, string, string_list
from kbroker.config.definition import ConfigRegistry
from kbroker.config.validators import Matching, OneOf, at_least

OFFSET_RESET = Matching(
    r"latest|earliest|by_duration:(?i:P(?!$)([0-9]+D)?(T(?!$)([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]{1,9})?S)?)?)",
    "latest, earliest or by_duration:PnDTnHnMn.nS",
)

KEYS = (
    int32(
        "consumer.assignment.interval.ms",
        1_000,
        "Shortest time between two assignments of the group.",
        at_least(0),
        synonyms=("group.consumer.assignment.interval.ms",),
    ),
    boolean(
        "consumer.assignor.offload.enable",
        True,
        "Compute assignments outside the coordinator's own thread.",
        synonyms=("group.consumer.assignor.offload.enable",),
        internal=True,
    ),
    int32(
        "consumer.heartbeat.interval.ms",
        5_000,
        "Heartbeat interval given to the members of the consumer group.",
        at_least(1),
        synonyms=("group.consumer.heartbeat.interval.ms",),
    ),
    int32(
        "consumer.session.timeout.ms",
        45_000,
        "Time without a heartbeat after which a member of the consumer group is removed.",
        at_least(1),
        synonyms=("group.consumer.session.timeout.ms",),
    ),
    boolean(
        "errors.deadletterqueue.copy.record.enable",
        False,
        "Copy the undeliverable record itself to the dead-letter topic, not only its headers.",
    ),
    string(
        "errors.deadletterqueue.topic.name",
        "",
        "Topic that takes the share group's undeliverable records; empty for none.",
    ),
    int32(
        "share.assignment.interval.ms",
        1_000,
        "Shortest time between two assignments of the share group.",
        at_least(0),
        synonyms=("group.share.assignment.interval.ms",),
    ),
    boolean(
        "share.assignor.offload.enable",
        True,
        "Compute assignments outside the coordinator's own thread.",
        synonyms=("group.share.assignor.offload.enable",),
        internal=True,
    ),
    string(
        "share.auto.offset.reset",
        "latest",
        "Where a share group starts on a partition: latest, earliest, or by_duration: and an ISO 8601 "
        "duration.",
        OFFSET_RESET,
    ),
    int32(
        "share.delivery.count.limit",
        5,
        "Deliveries of one record before the share group gives it up.",
        at_least(2),
        synonyms=("group.share.delivery.count.limit",),
    ),
    int32(
        "share.heartbeat.interval.ms",
        5_000,
        "Heartbeat interval given to the members of the share group.",
        at_least(1),
        synonyms=("group.share.heartbeat.interval.ms",),
    ),
    string(
        "share.isolation.level",
        "read_uncommitted",
        "Whether the share group sees records of transactions that were not committed.",
        OneOf("read_committed", "read_uncommitted"),
    ),
    int32(
        "share.partition.max.record.locks",
        2_000,
        "Records of one partition that the share group may hold locked.",
        at_least(100),
        synonyms=("group.share.partition.max.record.locks",),
    ),
    int32(
        "share.record.lock.duration.ms",
        30_000,
        "How long a delivered record stays locked for its consumer.",
        at_least(1_000),
        synonyms=("group.share.record.lock.duration.ms",),
    ),
    boolean(
        "share.renew.acknowledge.enable",
        True,
        "Let consumers extend the lock of a record by acknowledging it with renew.",
    ),
    int32(
        "share.session.timeout.ms",
        45_000,
        "Time without a heartbeat after which a member of the share group is removed.",
        at_least(1),
        synonyms=("group.share.session.timeout.ms",),
    ),
    int64(
        "streams.acceptable.recovery.lag",
        10_000,
        "Lag in offsets up to which a client counts as caught up for an active task.",
        at_least(0),
        synonyms=("group.streams.acceptable.recovery.lag",),
        internal=True,
    ),
    int32(
        "streams.assignment.interval.ms",
        1_000,
        "Shortest time between two assignments of the streams group.",
        at_least(0),
        synonyms=("group.streams.assignment.interval.ms",),
    ),
    string(
        "streams.assignor.name",
        None,
        "Task assignor of the streams group; unset, the first of group.streams.assignors.",
        synonyms=("group.streams.assignors",),
    ),
    boolean(
        "streams.assignor.offload.enable",
        True,
        "Compute assignments outside the coordinator's own thread.",
        synonyms=("group.streams.assignor.offload.enable",),
        internal=True,
    ),
    int32(
        "streams.heartbeat.interval.ms",
        5_000,
        "Heartbeat interval given to the members of the streams group.",
        at_least(1),
        synonyms=("group.streams.heartbeat.interval.ms",),
    ),
    int32(
        "streams.initial.rebalance.delay.ms",
        3_000,
        "How long the new streams group waits for more members before its first assignment.",
        at_least(0),
        synonyms=("group.streams.initial.rebalance.delay.ms",),
    ),
    int32(
        "streams.num.standby.replicas",
        0,
        "Standby replicas of each task.",
        at_least(0),
        synonyms=("group.streams.num.standby.replicas",),
    ),
    int32(
        "streams.num.warmup.replicas",
        2,
        "Most warm-up tasks of the group at one time.",
        at_least(0),
        synonyms=("group.streams.num.warmup.replicas",),
        internal=True,
    ),
    string_list(
        "streams.rack.aware.assignment.tags",
        (),
        "Client tags over which standby tasks are spread.",
        importance=LOW,
        synonyms=("group.streams.rack.aware.assignment.tags",),
    ),
    int32(
        "streams.session.timeout.ms",
        45_000,
        "Time without a heartbeat after which a member of the streams group is removed.",
        at_least(1),
        synonyms=("group.streams.session.timeout.ms",),
    ),
    int32(
        "streams.task.offset.interval.ms",
        60_000,
        "Time between two reports of changelog offsets of warm-up tasks.",
        at_least(1),
        synonyms=("group.streams.task.offset.interval.ms",),
        internal=True,
    ),
)

GROUP_KEYS = ConfigRegistry(KEYS)
