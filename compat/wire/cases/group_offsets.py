"""OffsetCommit, OffsetFetch, OffsetDelete. Offsets of transactions are in ``transactions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compat.wire.arrange import UNKNOWN_TOPIC_ID, Topic, standing_topic
from compat.wire.case import Cases
from compat.wire.logs import unknown
from compat.wire.members import Member, at_generation, group_id, join, joining, stable, wait_for_rebalance
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.group_membership import JoinGroupRequest, JoinGroupResponse
from wire.messages.group_offsets import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetFetchRequest,
)

OFFSET_COMMIT = Cases(OffsetCommitRequest)
OFFSET_FETCH = Cases(OffsetFetchRequest)
OFFSET_DELETE = Cases(OffsetDeleteRequest)

CommitTopic = OffsetCommitRequest.OffsetCommitRequestTopic
CommitPartition = CommitTopic.OffsetCommitRequestPartition
NOBODY = "nobody-0d2a0d8e-4f0a-4d77-9f3f-6f4ad7a9d5c1"
TOPIC_IDS_SINCE = 10


def commit(
    version: int,
    group: str,
    offsets: Mapping[tuple[Topic, int], int],
    *,
    member: Member | None = None,
    metadata: str | None = "",
    leader_epoch: int = -1,
) -> OffsetCommitRequest:
    """``offsets`` by topic and partition, each a topic entry of its own; by id where the version has ids."""
    by_id = version >= TOPIC_IDS_SINCE
    topics = [
        CommitTopic(
            name="" if by_id else topic.name,
            **({"topic_id": topic.topic_id} if by_id else {}),
            partitions=[
                CommitPartition(
                    partition_index=partition,
                    committed_offset=offset,
                    committed_leader_epoch=leader_epoch,
                    committed_metadata=metadata,
                )
            ],
        )
        for (topic, partition), offset in offsets.items()
    ]
    if member is None:
        return OffsetCommitRequest(group_id=group, topics=topics)
    return OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=member.generation,
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        topics=topics,
    )


def committed_group(at: Scene, prefix: str = "committed") -> str:
    """A group without members that has committed 5 in partition 0 of the standing topic."""
    group, topic = group_id(at, prefix), standing_topic(at)
    version = OffsetCommitRequest.max_version
    request = commit(version, group, {(topic, 0): 5}, metadata="about")
    at.until(
        lambda: at.call(request, OffsetCommitResponse),
        lambda answer: answer.topics[0].partitions[0].error_code == ErrorCode.NONE,
        "a commit",
    )
    return group


def fetch(
    at: Scene, group: str, asked: Mapping[Topic, tuple[int, ...]] | None, stable_only: bool = False
) -> OffsetFetchRequest:
    """Of one group, as the version has it; None asks for all topics."""
    request = OffsetFetchRequest(require_stable=stable_only) if at.version >= 7 else OffsetFetchRequest()
    if at.version >= 8:
        request.groups = [fetch_of(at, group, asked)]
        return request
    request.group_id = group
    request.topics = (
        None
        if asked is None
        else [
            OffsetFetchRequest.OffsetFetchRequestTopic(name=topic.name, partition_indexes=list(partitions))
            for topic, partitions in asked.items()
        ]
    )
    return request


def fetch_of(
    at: Scene, group: str, asked: Mapping[Topic, tuple[int, ...]] | None
) -> OffsetFetchRequest.OffsetFetchRequestGroup:
    topics = OffsetFetchRequest.OffsetFetchRequestGroup.OffsetFetchRequestTopics
    by_id = at.version >= TOPIC_IDS_SINCE
    return OffsetFetchRequest.OffsetFetchRequestGroup(
        group_id=group,
        topics=None
        if asked is None
        else [
            topics(topic_id=topic.topic_id, partition_indexes=list(partitions))
            if by_id
            else topics(name=topic.name, partition_indexes=list(partitions))
            for topic, partitions in asked.items()
        ],
    )


def committed(at: Scene, offsets: Mapping[tuple[Topic, int], int], **fields: object) -> None:
    """Commit without being a member, then look."""
    group = group_id(at)
    at.ask(commit(at.version, group, offsets, **fields))  # type: ignore[arg-type]
    look(at, group)


def look(at: Scene, group: str) -> None:
    """What the group has committed, all of it."""
    version = OffsetFetchRequest.max_version
    newest = replace_version(at, version)
    at.ask(fetch(newest, group, None), version=version)


def replace_version(at: Scene, version: int) -> Scene:
    """The same scene for requests that are built for another version."""
    return replace(at, version=version)


OFFSET_COMMIT.add(
    "nobody's member", lambda at: committed(at, {(standing_topic(at), 0): 5, (standing_topic(at), 1): 0})
)
OFFSET_COMMIT.add("metadata", lambda at: committed(at, {(standing_topic(at), 0): 5}, metadata="about it"))
OFFSET_COMMIT.add("null metadata", lambda at: committed(at, {(standing_topic(at), 0): 5}, metadata=None))
OFFSET_COMMIT.add(
    "too much metadata", lambda at: committed(at, {(standing_topic(at), 0): 5}, metadata="m" * 4097)
)
OFFSET_COMMIT.add(
    "all the metadata there may be",
    lambda at: committed(at, {(standing_topic(at), 0): 5}, metadata="m" * 4096),
)
OFFSET_COMMIT.add(
    "a leader epoch", lambda at: committed(at, {(standing_topic(at), 0): 5}, leader_epoch=3), "6+"
)
for offset in (-1, -7, 2**62):
    OFFSET_COMMIT.add(
        f"offset {offset}", lambda at, offset=offset: committed(at, {(standing_topic(at), 0): offset})
    )
OFFSET_COMMIT.add(
    "an unknown topic", lambda at: committed(at, {(unknown(UNKNOWN_TOPIC_ID, at.name("absent")), 0): 5})
)
OFFSET_COMMIT.add("an unknown partition", lambda at: committed(at, {(standing_topic(at), 7): 5}))
OFFSET_COMMIT.add("a partition below zero", lambda at: committed(at, {(standing_topic(at), -1): 5}))
OFFSET_COMMIT.add(
    "known and unknown",
    lambda at: committed(
        at,
        {
            (unknown(UNKNOWN_TOPIC_ID, at.name("absent")), 0): 5,
            (standing_topic(at), 9): 1,
            (standing_topic(at), 1): 2,
        },
    ),
)
OFFSET_COMMIT.add("no topics", lambda at: committed(at, {}))
OFFSET_COMMIT.add(
    "a group without a name", lambda at: group_id(at) and commit(at.version, "", {(standing_topic(at), 0): 5})
)
OFFSET_COMMIT.add(
    "a generation without a group",
    lambda at: commit(at.version, group_id(at), {(standing_topic(at), 0): 5}, member=Member("", NOBODY, 1)),
)
OFFSET_COMMIT.add(
    "a member without a group",
    lambda at: commit(at.version, group_id(at), {(standing_topic(at), 0): 5}, member=Member("", NOBODY, -1)),
)


def commit_as(at: Scene, member: Member) -> OffsetCommitRequest:
    return commit(at.version, member.group, {(standing_topic(at), 0): 7}, member=member)


OFFSET_COMMIT.add("a member", lambda at: commit_as(at, stable(at, group_id(at))))
OFFSET_COMMIT.add(
    "a member that has yet to be assigned anything", lambda at: commit_as(at, joining(at, group_id(at)))
)
OFFSET_COMMIT.add(
    "an unknown member", lambda at: commit_as(at, replace(stable(at, group_id(at)), member_id=NOBODY))
)
for generation in (0, 2, -1):
    OFFSET_COMMIT.add(
        f"generation {generation}",
        lambda at, generation=generation: commit_as(at, at_generation(stable(at, group_id(at)), generation)),
    )
OFFSET_COMMIT.add(
    "nobody's member in a group with members",
    lambda at: commit(at.version, stable(at, group_id(at)).group, {(standing_topic(at), 0): 7}),
)
OFFSET_COMMIT.add(
    "a static member", lambda at: commit_as(at, stable(at, group_id(at), instance_id="instance")), "7+"
)
OFFSET_COMMIT.add(
    "a static member under an id that is not its own",
    lambda at: commit_as(at, replace(stable(at, group_id(at), instance_id="instance"), member_id=NOBODY)),
    "7+",
)
OFFSET_COMMIT.add(
    "an unknown static member",
    lambda at: commit_as(
        at, replace(stable(at, group_id(at), instance_id="instance"), instance_id="another")
    ),
    "7+",
)


@OFFSET_COMMIT.case("while a rebalance begins")
def _commit_in_rebalance(at: Scene) -> None:
    first = stable(at, group_id(at))
    connection = at.connect()
    request = join(first.group)
    newest = JoinGroupRequest.max_version
    request.member_id = at.send(request, over=connection, version=newest).answer(JoinGroupResponse).member_id
    at.send(request, over=connection, version=newest)
    wait_for_rebalance(at, first)
    at.ask(commit_as(at, first))


@OFFSET_COMMIT.case("a retention time", "2-4")
def _retention(at: Scene) -> None:
    request = commit(at.version, group_id(at), {(standing_topic(at), 0): 5})
    request.retention_time_ms = 1
    at.ask(request)


OFFSET_FETCH.add("a partition", lambda at: fetch(at, committed_group(at), {standing_topic(at): (0,)}))
OFFSET_FETCH.add(
    "partitions without offsets", lambda at: fetch(at, committed_group(at), {standing_topic(at): (1, 0, 7)})
)
OFFSET_FETCH.add("all topics", lambda at: fetch(at, committed_group(at), None), "2+")
OFFSET_FETCH.add("no topics", lambda at: fetch(at, committed_group(at), {}))
OFFSET_FETCH.add("no partitions", lambda at: fetch(at, committed_group(at), {standing_topic(at): ()}))
OFFSET_FETCH.add("a partition twice", lambda at: fetch(at, committed_group(at), {standing_topic(at): (0, 0)}))
OFFSET_FETCH.add(
    "a partition below zero", lambda at: fetch(at, committed_group(at), {standing_topic(at): (-1,)})
)
OFFSET_FETCH.add(
    "an unknown topic",
    lambda at: fetch(at, committed_group(at), {unknown(UNKNOWN_TOPIC_ID, at.name("absent")): (0,)}),
)
OFFSET_FETCH.add("an unknown group", lambda at: fetch(at, group_id(at), {standing_topic(at): (0,)}))
OFFSET_FETCH.add("all topics of an unknown group", lambda at: fetch(at, group_id(at), None), "2+")
OFFSET_FETCH.add(
    "a group without a name", lambda at: group_id(at) and fetch(at, "", {standing_topic(at): (0,)})
)
OFFSET_FETCH.add(
    "stable offsets",
    lambda at: fetch(at, committed_group(at), {standing_topic(at): (0,)}, stable_only=True),
    "7+",
)


@OFFSET_FETCH.case("several groups", "8+")
def _several_groups(at: Scene) -> None:
    groups = [committed_group(at, "b"), group_id(at, "absent"), committed_group(at, "a")]
    at.ask(OffsetFetchRequest(groups=[fetch_of(at, group, {standing_topic(at): (0,)}) for group in groups]))


@OFFSET_FETCH.case("a group twice", "8+")
def _group_twice(at: Scene) -> None:
    group = committed_group(at)
    at.ask(
        OffsetFetchRequest(groups=[fetch_of(at, group, {standing_topic(at): (index,)}) for index in (0, 1)])
    )


OFFSET_FETCH.add("no groups", lambda at: OffsetFetchRequest(), "8+")


@OFFSET_FETCH.case("a member's id and epoch", "9+")
def _fetch_as_member(at: Scene) -> None:
    member = stable(at, group_id(at))
    for member_id, epoch in (
        (member.member_id, member.generation),
        (NOBODY, 1),
        (member.member_id, 7),
        (None, 1),
    ):
        asked = fetch_of(at, member.group, {standing_topic(at): (0,)})
        asked.member_id, asked.member_epoch = member_id, epoch
        at.ask(OffsetFetchRequest(groups=[asked]))


def delete(group: str, *asked: tuple[str, tuple[int, ...]]) -> OffsetDeleteRequest:
    topic = OffsetDeleteRequest.OffsetDeleteRequestTopic
    return OffsetDeleteRequest(
        group_id=group,
        topics=[
            topic(
                name=name,
                partitions=[
                    topic.OffsetDeleteRequestPartition(partition_index=index) for index in partitions
                ],
            )
            for name, partitions in asked
        ],
    )


@OFFSET_DELETE.case("an offset, and once again")
def _delete_twice(at: Scene) -> None:
    group = committed_group(at)
    at.ask(delete(group, (standing_topic(at).name, (0,))))
    look(at, group)
    at.ask(delete(group, (standing_topic(at).name, (0,))))


OFFSET_DELETE.add(
    "offsets that are not there",
    lambda at: delete(committed_group(at), (standing_topic(at).name, (1, 0, 9, -1))),
)
OFFSET_DELETE.add("an unknown topic", lambda at: delete(committed_group(at), (at.name("absent"), (0,))))
OFFSET_DELETE.add(
    "a topic twice", lambda at: delete(committed_group(at), *[(standing_topic(at).name, (0,))] * 2)
)
OFFSET_DELETE.add("no partitions", lambda at: delete(committed_group(at), (standing_topic(at).name, ())))
OFFSET_DELETE.add("no topics", lambda at: delete(committed_group(at)))
OFFSET_DELETE.add("an unknown group", lambda at: delete(group_id(at), (standing_topic(at).name, (0,))))
OFFSET_DELETE.add(
    "a group without a name", lambda at: group_id(at) and delete("", (standing_topic(at).name, (0,)))
)
OFFSET_DELETE.add(
    "a group with members", lambda at: delete(stable(at, group_id(at)).group, (standing_topic(at).name, (0,)))
)
