"""DescribeGroups and ListGroups (Kafka's ``GroupMetadataManager.describeGroups``, ``listGroups``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kbroker.coordination.group.group import Group
from kbroker.coordination.group.registry import GroupRegistry
from kbroker.coordination.group.states import GroupState
from kbroker.coordination.ports import RequestOrigin
from wire.errors import ErrorCode
from wire.messages.groups import DescribeGroupsResponse, ListGroupsResponse

_DescribedGroup = DescribeGroupsResponse.DescribedGroup
_ListedGroup = ListGroupsResponse.ListedGroup

_NOT_FOUND_SINCE = 6
_CLASSIC_TYPE = "classic"


class Descriptions:
    """Tells what groups there are, and what is going on in them."""

    def __init__(self, groups: GroupRegistry) -> None:
        self._groups = groups

    def describe(self, group_ids: Iterable[str], origin: RequestOrigin) -> list[_DescribedGroup]:
        """A group that does not exist is Dead; since version 6 it is an error, too."""
        return [self._describe(group_id, origin) for group_id in group_ids]

    def _describe(self, group_id: str, origin: RequestOrigin) -> _DescribedGroup:
        group = self._groups.get(group_id)
        if group is None:
            described = _DescribedGroup(group_id=group_id, group_state=GroupState.DEAD.value)
            if origin.api_version >= _NOT_FOUND_SINCE:
                described.error_code = ErrorCode.GROUP_ID_NOT_FOUND
                described.error_message = f"Group {group_id} not found."
            return described
        is_stable = group.state is GroupState.STABLE
        return _DescribedGroup(
            group_id=group_id,
            group_state=group.state.value,
            protocol_type=group.protocol_type or "",
            protocol_data=(group.protocol_name or "") if is_stable else "",
            members=[
                _DescribedGroup.DescribedGroupMember(
                    member_id=member.member_id,
                    group_instance_id=member.group_instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    member_metadata=member.metadata(group.protocol_name) if is_stable else b"",
                    member_assignment=member.assignment,
                )
                for member in group.members.values()
            ],
        )

    def list(self, states: Sequence[str], types: Sequence[str]) -> list[_ListedGroup]:
        """The groups in one of these states and of one of these types, in any case; no filter: all."""
        wanted_states = {state.strip().lower() for state in states}
        if types and _CLASSIC_TYPE not in {name.lower() for name in types}:
            return []
        return [
            _listed(group)
            for group in self._groups
            if not states or group.state.value.lower() in wanted_states
        ]


def _listed(group: Group) -> _ListedGroup:
    return _ListedGroup(
        group_id=group.group_id,
        protocol_type=group.protocol_type or "",
        group_state=group.state.value,
        group_type=_CLASSIC_TYPE,
    )
