"""JoinGroup, SyncGroup, Heartbeat, LeaveGroup."""

from __future__ import annotations

from dataclasses import replace

from compat.wire.case import Cases
from compat.wire.members import (
    PROTOCOL,
    Member,
    at_generation,
    group_id,
    join,
    joining,
    second_joins,
    stable,
    sync,
    wait_for_rebalance,
)
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.group_membership import (
    HeartbeatRequest,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    SyncGroupRequest,
)

JOIN_GROUP = Cases(JoinGroupRequest)
SYNC_GROUP = Cases(SyncGroupRequest)
HEARTBEAT = Cases(HeartbeatRequest)
LEAVE_GROUP = Cases(LeaveGroupRequest)

STATIC_JOIN, STATIC = "5+", "3+"
UNKNOWN_MEMBER = "nobody-0d2a0d8e-4f0a-4d77-9f3f-6f4ad7a9d5c1"
IDS_BEFORE_JOINING = 4
"""The version since which a new member is told its id first, and has to come again with it."""


def joins(at: Scene, request: JoinGroupRequest) -> Member:
    """Join as a client of the version does, with every exchange compared."""
    answer = at.ask(request, JoinGroupResponse)
    if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
        request.member_id = answer.member_id
        answer = at.ask(request, JoinGroupResponse)
    return Member(request.group_id, answer.member_id, answer.generation_id, request.group_instance_id)


@JOIN_GROUP.case("the first member")
def _first_member(at: Scene) -> None:
    joins(at, join(group_id(at)))


@JOIN_GROUP.case("the first member, with two protocols")
def _two_protocols(at: Scene) -> None:
    joins(at, join(group_id(at), protocols=(("roundrobin", b"a"), ("range", b"b"))))


@JOIN_GROUP.case("the only member, once more")
def _once_more(at: Scene) -> None:
    member = stable(at, group_id(at))
    at.ask(join(member.group, member.member_id))


@JOIN_GROUP.case("the only member, with other metadata")
def _other_metadata(at: Scene) -> None:
    member = stable(at, group_id(at))
    at.ask(join(member.group, member.member_id, protocols=((PROTOCOL, b"other"),)))


@JOIN_GROUP.case("a member before it was assigned anything")
def _before_assignment(at: Scene) -> None:
    member = joining(at, group_id(at))
    at.ask(join(member.group, member.member_id))


@JOIN_GROUP.case("a second member")
def _second_member(at: Scene) -> None:
    first = stable(at, group_id(at))
    second_id, waiting, _ = second_joins(at, first)
    at.ask(join(first.group, first.member_id))
    answer = waiting.answer(JoinGroupResponse)
    assert second_id in ("", answer.member_id)


@JOIN_GROUP.case("a second member that shares no protocol")
def _no_common_protocol(at: Scene) -> None:
    first = stable(at, group_id(at))
    joins(at, join(first.group, protocols=(("sticky", b""),)))


@JOIN_GROUP.case("a second member of another type")
def _another_type(at: Scene) -> None:
    first = stable(at, group_id(at))
    joins(at, join(first.group, protocol_type="connect"))


JOIN_GROUP.add("a group without a name", lambda at: group_id(at) and join(""))
JOIN_GROUP.add("an unknown member", lambda at: join(group_id(at), UNKNOWN_MEMBER))
JOIN_GROUP.add(
    "an unknown member of a group", lambda at: join(stable(at, group_id(at)).group, UNKNOWN_MEMBER)
)
JOIN_GROUP.add("no protocols", lambda at: join(group_id(at), protocols=()))
JOIN_GROUP.add("no protocol type", lambda at: join(group_id(at), protocol_type=""))
JOIN_GROUP.add("a protocol without a name", lambda at: join(group_id(at), protocols=(("", b""),)))


@JOIN_GROUP.case("a protocol twice", "9")
def _protocol_twice(at: Scene) -> None:
    request = join(group_id(at), protocols=((PROTOCOL, b"a"), (PROTOCOL, b"b")))
    request.member_id = at.ask(request, JoinGroupResponse).member_id
    at.send(request, over=at.connect()).answer(deadline_s=2)


for timeout_ms in (0, -1, 999, 1_800_001, 2**31 - 1):
    JOIN_GROUP.add(
        f"a session of {timeout_ms} ms",
        lambda at, timeout_ms=timeout_ms: join(group_id(at), session_timeout_ms=timeout_ms),
    )
for timeout_ms in (0, -5):
    JOIN_GROUP.add(
        f"{timeout_ms} ms to rebalance",
        lambda at, timeout_ms=timeout_ms: (
            joins(at, join(group_id(at), rebalance_timeout_ms=timeout_ms)) and None
        ),
        "1+",
    )


@JOIN_GROUP.case("a static member", STATIC_JOIN)
def _static(at: Scene) -> None:
    joins(at, join(group_id(at), instance_id="instance"))


@JOIN_GROUP.case("a static member that comes back", STATIC_JOIN)
def _static_returns(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    at.ask(join(member.group, instance_id="instance"))
    at.ask(heartbeat(member), version=4)


@JOIN_GROUP.case("a static member that comes back with other metadata", STATIC_JOIN)
def _static_returns_changed(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    joins(at, join(member.group, instance_id="instance", protocols=((PROTOCOL, b"other"),)))


@JOIN_GROUP.case("a static member under an id that is not its own", STATIC_JOIN)
def _static_fenced(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    at.ask(join(member.group, UNKNOWN_MEMBER, instance_id="instance"))


@JOIN_GROUP.case("an unknown static member under an id", STATIC_JOIN)
def _static_unknown(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    at.ask(join(member.group, UNKNOWN_MEMBER, instance_id="another"))


JOIN_GROUP.add(
    "a static member without a name",
    lambda at: joins(at, join(group_id(at), instance_id="")) and None,
    STATIC_JOIN,
)
JOIN_GROUP.add(
    "a static member with an invalid name",
    lambda at: joins(at, join(group_id(at), instance_id="a b")) and None,
    STATIC_JOIN,
)


@SYNC_GROUP.case("the leader assigns")
def _leader_assigns(at: Scene) -> None:
    member = joining(at, group_id(at))
    at.ask(sync(member, (member.member_id, b"assignment"), version=at.version))
    at.ask(sync(member, version=at.version))


@SYNC_GROUP.case("the leader assigns nothing")
def _assigns_nothing(at: Scene) -> None:
    at.ask(sync(joining(at, group_id(at)), version=at.version))


@SYNC_GROUP.case("the leader assigns to somebody unknown")
def _assigns_to_unknown(at: Scene) -> None:
    at.ask(sync(joining(at, group_id(at)), (UNKNOWN_MEMBER, b"x"), version=at.version))


@SYNC_GROUP.case("two members")
def _two_sync(at: Scene) -> None:
    first = stable(at, group_id(at))
    connection = at.connect()
    request = join(first.group, protocols=((PROTOCOL, b"second"),))
    newest = JoinGroupRequest.max_version
    request.member_id = at.send(request, over=connection, version=newest).answer(JoinGroupResponse).member_id
    waiting = at.send(request, over=connection, version=newest)
    wait_for_rebalance(at, first)
    leader = at.ask(join(first.group, first.member_id), JoinGroupResponse, version=newest)
    second = waiting.answer(JoinGroupResponse)
    first = at_generation(first, leader.generation_id)
    syncing = at.send(
        sync(Member(first.group, second.member_id, second.generation_id), version=at.version), over=connection
    )
    at.ask(sync(first, (first.member_id, b"one"), (second.member_id, b"two"), version=at.version))
    syncing.answer()


@SYNC_GROUP.case("while a rebalance begins")
def _sync_in_rebalance(at: Scene) -> None:
    first = stable(at, group_id(at))
    connection = at.connect()
    request = join(first.group)
    newest = JoinGroupRequest.max_version
    request.member_id = at.send(request, over=connection, version=newest).answer(JoinGroupResponse).member_id
    at.send(request, over=connection, version=newest)
    wait_for_rebalance(at, first)
    at.ask(sync(first, version=at.version))


SYNC_GROUP.add(
    "an unknown group", lambda at: sync(Member(group_id(at), UNKNOWN_MEMBER, 1), version=at.version)
)
SYNC_GROUP.add(
    "a group without a name",
    lambda at: group_id(at) and sync(Member("", UNKNOWN_MEMBER, 1), version=at.version),
)
SYNC_GROUP.add(
    "an unknown member",
    lambda at: sync(replace(stable(at, group_id(at)), member_id=UNKNOWN_MEMBER), version=at.version),
)
for generation in (0, 2, -1):
    SYNC_GROUP.add(
        f"generation {generation}",
        lambda at, generation=generation: sync(
            at_generation(stable(at, group_id(at)), generation), version=at.version
        ),
    )


@SYNC_GROUP.case("a wrong protocol", "5+")
def _wrong_protocol(at: Scene) -> None:
    member = stable(at, group_id(at))
    for field, value in (("protocol_name", "sticky"), ("protocol_type", "connect")):
        request = sync(member, version=at.version)
        setattr(request, field, value)
        at.ask(request)


@SYNC_GROUP.case("no protocol", "5+")
def _no_protocol(at: Scene) -> None:
    member = stable(at, group_id(at))
    for field in ("protocol_name", "protocol_type"):
        request = sync(member, version=at.version)
        setattr(request, field, None)
        at.ask(request)


@SYNC_GROUP.case("a static member that was replaced", STATIC)
def _sync_fenced(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    at.ask(sync(replace(member, member_id=UNKNOWN_MEMBER), version=at.version))
    at.ask(sync(replace(member, instance_id="another"), version=at.version))


def heartbeat(member: Member) -> HeartbeatRequest:
    return HeartbeatRequest(
        group_id=member.group,
        generation_id=member.generation,
        member_id=member.member_id,
        group_instance_id=member.instance_id,
    )


HEARTBEAT.add("a member", lambda at: heartbeat(stable(at, group_id(at))))
HEARTBEAT.add(
    "a member that has yet to be assigned anything", lambda at: heartbeat(joining(at, group_id(at)))
)
HEARTBEAT.add("an unknown group", lambda at: heartbeat(Member(group_id(at), UNKNOWN_MEMBER, 1)))
HEARTBEAT.add("a group without a name", lambda at: group_id(at) and heartbeat(Member("", UNKNOWN_MEMBER, 1)))
HEARTBEAT.add(
    "an unknown member", lambda at: heartbeat(replace(stable(at, group_id(at)), member_id=UNKNOWN_MEMBER))
)
HEARTBEAT.add("a member without an id", lambda at: heartbeat(replace(stable(at, group_id(at)), member_id="")))
for generation in (0, 2, -1):
    HEARTBEAT.add(
        f"generation {generation}",
        lambda at, generation=generation: heartbeat(at_generation(stable(at, group_id(at)), generation)),
    )


@HEARTBEAT.case("while a rebalance begins")
def _heartbeat_in_rebalance(at: Scene) -> None:
    first = stable(at, group_id(at))
    connection = at.connect()
    request = join(first.group)
    newest = JoinGroupRequest.max_version
    request.member_id = at.send(request, over=connection, version=newest).answer(JoinGroupResponse).member_id
    at.send(request, over=connection, version=newest)
    wait_for_rebalance(at, first)
    at.ask(heartbeat(first))


HEARTBEAT.add(
    "a static member", lambda at: heartbeat(stable(at, group_id(at), instance_id="instance")), STATIC
)
HEARTBEAT.add(
    "a static member under an id that is not its own",
    lambda at: heartbeat(replace(stable(at, group_id(at), instance_id="instance"), member_id=UNKNOWN_MEMBER)),
    STATIC,
)
HEARTBEAT.add(
    "an unknown static member",
    lambda at: heartbeat(replace(stable(at, group_id(at), instance_id="instance"), instance_id="another")),
    STATIC,
)


def leave(at: Scene, group: str, *members: tuple[str, str | None]) -> LeaveGroupRequest:
    """``members``: id and instance id; versions before 3 take one member, by its id."""
    if at.version < 3:
        return LeaveGroupRequest(group_id=group, member_id=members[0][0])
    return LeaveGroupRequest(
        group_id=group,
        members=[
            LeaveGroupRequest.MemberIdentity(member_id=member_id, group_instance_id=instance_id)
            for member_id, instance_id in members
        ],
    )


@LEAVE_GROUP.case("the only member")
def _leaves(at: Scene) -> None:
    member = stable(at, group_id(at))
    at.ask(leave(at, member.group, (member.member_id, None)))
    at.ask(heartbeat(member), version=4)
    at.ask(leave(at, member.group, (member.member_id, None)))


LEAVE_GROUP.add("an unknown group", lambda at: leave(at, group_id(at), (UNKNOWN_MEMBER, None)))
LEAVE_GROUP.add("a group without a name", lambda at: group_id(at) and leave(at, "", (UNKNOWN_MEMBER, None)))
LEAVE_GROUP.add(
    "an unknown member", lambda at: leave(at, stable(at, group_id(at)).group, (UNKNOWN_MEMBER, None))
)
LEAVE_GROUP.add("a member without an id", lambda at: leave(at, stable(at, group_id(at)).group, ("", None)))
LEAVE_GROUP.add("no members", lambda at: leave(at, stable(at, group_id(at)).group), "3+")
LEAVE_GROUP.add("no members of an unknown group", lambda at: leave(at, group_id(at)), "3+")


@LEAVE_GROUP.case("a static member by its instance", "3+")
def _static_leaves(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    at.ask(leave(at, member.group, ("", "instance")))
    at.ask(leave(at, member.group, ("", "instance")))


@LEAVE_GROUP.case("several, known and unknown", "3+")
def _several_leave(at: Scene) -> None:
    member = stable(at, group_id(at), instance_id="instance")
    at.ask(
        leave(
            at,
            member.group,
            (UNKNOWN_MEMBER, None),
            (UNKNOWN_MEMBER, "instance"),
            ("", "another"),
            (member.member_id, "instance"),
        )
    )


@LEAVE_GROUP.case("a reason", "5+")
def _leaves_with_reason(at: Scene) -> None:
    member = stable(at, group_id(at))
    request = leave(at, member.group, (member.member_id, None))
    request.members[0].reason = "because"
    at.ask(request)
