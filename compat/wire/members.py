"""Members of classic groups, as far as cases need them before they ask."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compat.wire.arrange import offsets_topic
from compat.wire.connection import WireConnection
from compat.wire.scene import PendingAnswer, Scene
from wire.errors import ErrorCode
from wire.messages.group_membership import (
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    SyncGroupRequest,
    SyncGroupResponse,
)

SESSION_TIMEOUT_MS = 30_000
PROTOCOL_TYPE, PROTOCOL = "consumer", "range"


@dataclass(frozen=True)
class Member:
    """Somebody in a group, at the generation that was told last."""

    group: str
    member_id: str
    generation: int
    instance_id: str | None = None


def group_id(scene: Scene, prefix: str = "group") -> str:
    """The id of a group of the scene's own, which does not exist yet but could."""
    offsets_topic(scene)
    return scene.name(prefix)


def join(
    group: str,
    member_id: str = "",
    *,
    instance_id: str | None = None,
    protocol_type: str = PROTOCOL_TYPE,
    protocols: tuple[tuple[str, bytes], ...] = ((PROTOCOL, b"metadata"),),
    session_timeout_ms: int = SESSION_TIMEOUT_MS,
    rebalance_timeout_ms: int = SESSION_TIMEOUT_MS,
    with_rebalance_timeout: bool = True,
) -> JoinGroupRequest:
    """As a consumer would; ``protocols`` are names and metadata."""
    request = JoinGroupRequest(
        group_id=group,
        session_timeout_ms=session_timeout_ms,
        member_id=member_id,
        group_instance_id=instance_id,
        protocol_type=protocol_type,
        protocols=[
            JoinGroupRequest.JoinGroupRequestProtocol(name=name, metadata=metadata)
            for name, metadata in protocols
        ],
    )
    if with_rebalance_timeout:
        request.rebalance_timeout_ms = rebalance_timeout_ms
    return request


def sync(member: Member, *assignments: tuple[str, bytes], version: int) -> SyncGroupRequest:
    """With protocol type and name where the version has them."""
    named = version >= 5
    return SyncGroupRequest(
        group_id=member.group,
        generation_id=member.generation,
        member_id=member.member_id,
        group_instance_id=member.instance_id,
        protocol_type=PROTOCOL_TYPE if named else None,
        protocol_name=PROTOCOL if named else None,
        assignments=[
            SyncGroupRequest.SyncGroupRequestAssignment(member_id=member_id, assignment=assignment)
            for member_id, assignment in assignments
        ],
    )


def joining(
    scene: Scene,
    group: str,
    *,
    instance_id: str | None = None,
    protocols: tuple[tuple[str, bytes], ...] = ((PROTOCOL, b"metadata"),),
    session_timeout_ms: int = SESSION_TIMEOUT_MS,
) -> Member:
    """Join as the only member, which is then the leader and has yet to assign; not compared."""
    request = join(group, instance_id=instance_id, protocols=protocols, session_timeout_ms=session_timeout_ms)
    answer = scene.call(request, JoinGroupResponse)
    if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
        request.member_id = answer.member_id
        answer = scene.call(request, JoinGroupResponse)
    assert answer.error_code == ErrorCode.NONE, answer
    return Member(group, answer.member_id, answer.generation_id, instance_id)


def stable(
    scene: Scene,
    group: str,
    *,
    instance_id: str | None = None,
    session_timeout_ms: int = SESSION_TIMEOUT_MS,
) -> Member:
    """The only member of a group that is stable; not compared."""
    member = joining(scene, group, instance_id=instance_id, session_timeout_ms=session_timeout_ms)
    newest = SyncGroupRequest.max_version
    request = sync(member, (member.member_id, b"assignment"), version=newest)
    answer = scene.call(request, SyncGroupResponse)
    assert answer.error_code == ErrorCode.NONE, answer
    return member


def second_joins(
    scene: Scene, first: Member, *, protocols: tuple[tuple[str, bytes], ...] = ((PROTOCOL, b"second"),)
) -> tuple[str, PendingAnswer, WireConnection]:
    """Another one begins to join at the version of the case, so that the group must rebalance.

    Its member id (empty before it has one), its request, which waits for the first to join anew, and its connection.
    """
    connection = scene.connect()
    request = join(first.group, protocols=protocols)
    if scene.version >= 4:
        refused = scene.send(request, over=connection).answer(JoinGroupResponse)
        request.member_id = refused.member_id
    pending = scene.send(request, over=connection)
    wait_for_rebalance(scene, first)
    return request.member_id, pending, connection


def wait_for_rebalance(scene: Scene, member: Member) -> None:
    """Until heartbeats tell the member to join anew."""
    heartbeat = HeartbeatRequest(
        group_id=member.group,
        generation_id=member.generation,
        member_id=member.member_id,
        group_instance_id=member.instance_id,
    )
    scene.until(
        lambda: scene.call(heartbeat, HeartbeatResponse).error_code,
        lambda code: code == ErrorCode.REBALANCE_IN_PROGRESS,
        "a rebalance",
    )


def at_generation(member: Member, generation: int) -> Member:
    return replace(member, generation=generation)
