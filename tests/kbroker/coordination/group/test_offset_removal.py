"""OffsetDelete, DeleteGroups, deleted topics, and retention."""

from __future__ import annotations

import uuid

import pytest

from kbroker.coordination.group.states import GroupState
from tests.kbroker.coordination.group.harness import GROUP, Harness, subscription
from wire.errors import ErrorCode

MINUTE = 60_000
RETENTION_MINUTES = 100
INTERVAL_MS = 10 * MINUTE
RETENTION = {
    "offsets_retention_minutes": RETENTION_MINUTES,
    "offsets_retention_check_interval_ms": INTERVAL_MS,
}


@pytest.fixture
def shard() -> Harness:
    return Harness(**RETENTION)


def codes(response: object) -> list[int]:
    return [p.error_code for topic in response.topics for p in topic.partitions]  # type: ignore[attr-defined]


class TestOffsetDelete:
    def test_empty_group(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1, ("t", 1): 2})
        call = shard.delete_offsets(("t", 0), ("t", 9))
        assert codes(call.response) == [0, 0]
        assert shard.fetch() == {("t", 1): 2}
        assert shard.restarted().fetch() == {("t", 1): 2}

    def test_offsets_that_are_not_there_need_no_record(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        before = len(shard.log)
        shard.delete_offsets(("t", 9))
        assert len(shard.log) == before

    def test_group_that_does_not_exist(self, shard: Harness) -> None:
        assert shard.delete_offsets(("t", 0)).error is ErrorCode.GROUP_ID_NOT_FOUND

    def test_subscribed_topic(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None, protocols={"range": subscription("t")})
        shard.commit({("t", 0): 1, ("old", 0): 2}, member_id, 1)
        call = shard.delete_offsets(("t", 0), ("old", 0))
        assert codes(call.response) == [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ErrorCode.NONE]
        assert shard.fetch() == {("t", 0): 1}

    @pytest.mark.parametrize("metadata", [b"", b"\x00", b"\x00\x00\x7f\xff\xff\xff", b"\xff\xff" + bytes(8)])
    def test_subscription_that_cannot_be_read_is_to_everything(self, shard: Harness, metadata: bytes) -> None:
        (member_id,) = shard.stable_group(None, protocols={"range": metadata})
        shard.commit({("t", 0): 1}, member_id, 1)
        call = shard.delete_offsets(("t", 0))
        assert codes(call.response) == [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC]

    def test_group_of_another_protocol_type_with_members(self, shard: Harness) -> None:
        shard.stable_group(None, protocol_type="connect")
        assert shard.delete_offsets(("t", 0)).error is ErrorCode.NON_EMPTY_GROUP

    def test_pending_transactional_offset(self, shard: Harness) -> None:
        shard.commit_in_transaction(7, {("t", 0): 5})
        shard.delete_offsets(("t", 0))
        shard.end_transaction(7, committed=True)
        assert shard.fetch() == {}


class TestDeleteGroups:
    def test_with_offsets(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1, ("u", 1): 2})
        shard.commit_in_transaction(7, {("t", 0): 5, ("v", 0): 6})
        assert shard.delete_group() is ErrorCode.NONE
        assert shard.shard.groups.get(GROUP) is None
        shard.end_transaction(7, committed=True)
        for again in (shard, shard.restarted()):
            assert again.fetch() == {}
            assert again.shard.groups.get(GROUP) is None

    def test_it_begins_anew_after_that(self, shard: Harness) -> None:
        shard.leave(*shard.stable_group(None))
        shard.delete_group()
        assert shard.delete_group() is ErrorCode.GROUP_ID_NOT_FOUND
        shard.stable_group(None)
        assert shard.group.generation_id == 1

    def test_each_has_its_own_code(self, shard: Harness) -> None:
        shard.stable_group(None)
        shard.commit({("t", 0): 1}, group="other")
        call = shard.call("delete", lambda _: shard.shard.delete_groups([GROUP, "other", "nobody"]))
        assert [(result.group_id, result.error_code) for result in call.response] == [
            (GROUP, ErrorCode.NON_EMPTY_GROUP),
            ("other", ErrorCode.NONE),
            ("nobody", ErrorCode.GROUP_ID_NOT_FOUND),
        ]

    def test_member_id_given_out_before_is_no_longer_known(self, shard: Harness) -> None:
        member_id = shard.new_member_id()
        assert shard.delete_group() is ErrorCode.NONE
        assert shard.join(member_id).code is ErrorCode.UNKNOWN_MEMBER_ID

    def test_it_cannot_be_stored(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        shard.append_error = ErrorCode.NOT_COORDINATOR
        call = shard.call("delete", lambda _: shard.shard.delete_groups([GROUP]))
        assert call.error is ErrorCode.NOT_COORDINATOR
        assert shard.fetch() == {("t", 0): 1}


class TestDeletedTopics:
    OLD, NEW = uuid.UUID(int=1), uuid.UUID(int=2)

    def delete(self, shard: Harness, *topics: tuple[str, uuid.UUID]) -> None:
        shard.execute(shard.shard.remove_topics(topics), None)

    def test_its_offsets_go_in_all_groups(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1, ("u", 0): 2}, topic_id=self.OLD)
        shard.commit({("t", 0): 1}, group="other")
        self.delete(shard, ("t", self.OLD))
        assert (shard.fetch(), shard.fetch(group="other")) == ({("u", 0): 2}, {})

    def test_those_of_a_new_topic_of_the_same_name_stay(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1}, topic_id=self.NEW)
        self.delete(shard, ("t", self.OLD))
        assert shard.fetch() == {("t", 0): 1}
        self.delete(shard, ("t", self.OLD), ("t", self.NEW))
        assert shard.fetch() == {}

    def test_pending_offsets_go_too(self, shard: Harness) -> None:
        shard.commit_in_transaction(7, {("t", 0): 5})
        self.delete(shard, ("t", self.OLD))
        assert not shard.shard.offsets.has_open_transactions(GROUP)
        shard.end_transaction(7, committed=True)
        assert shard.fetch() == {}

    def test_also_while_the_group_consumes(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None, protocols={"range": subscription("t")})
        shard.commit({("t", 0): 1}, member_id, 1)
        self.delete(shard, ("t", self.OLD))
        assert shard.fetch() == {}


class TestRetention:
    def keep_alive(self, shard: Harness, member_id: str, minutes: int) -> None:
        for _ in range(minutes):
            shard.sleep(MINUTE)
            assert shard.heartbeat(member_id, 1).code is ErrorCode.NONE

    def test_simple_group_by_the_time_of_the_commit(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        shard.sleep(RETENTION_MINUTES * MINUTE // 2)
        shard.commit({("t", 1): 2})
        shard.sleep(RETENTION_MINUTES * MINUTE // 2)
        assert shard.fetch() == {("t", 1): 2}
        shard.sleep(RETENTION_MINUTES * MINUTE // 2)
        assert shard.shard.groups.get(GROUP) is None
        assert shard.restarted().fetch() == {}

    def test_it_is_looked_after_in_intervals(self, shard: Harness) -> None:
        shard.sleep(INTERVAL_MS // 2)
        shard.commit({("t", 0): 1})
        shard.sleep(RETENTION_MINUTES * MINUTE)
        assert shard.fetch() == {("t", 0): 1}
        shard.sleep(INTERVAL_MS // 2)
        assert shard.fetch() == {}

    def test_group_by_the_time_it_became_empty(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None, session_ms=2 * MINUTE)
        shard.commit({("t", 0): 1}, member_id, 1)
        self.keep_alive(shard, member_id, RETENTION_MINUTES * 2)
        assert shard.fetch() == {("t", 0): 1}, "a subscription that is not known keeps all offsets"
        shard.leave(member_id)
        shard.sleep(RETENTION_MINUTES * MINUTE - INTERVAL_MS)
        assert shard.fetch() == {("t", 0): 1}
        shard.sleep(2 * INTERVAL_MS)
        assert shard.shard.groups.get(GROUP) is None

    def test_group_restored_from_the_log_became_empty_when_it_did(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None)
        shard.commit({("t", 0): 1}, member_id, 1)
        shard.leave(member_id)
        shard.sleep(RETENTION_MINUTES * MINUTE - INTERVAL_MS)
        restored = shard.restarted()
        assert restored.fetch() == {("t", 0): 1}
        restored.sleep(2 * INTERVAL_MS)
        assert restored.fetch() == {}

    def test_topics_that_a_stable_group_no_longer_subscribes_to(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None, protocols={"range": subscription("t")}, session_ms=2 * MINUTE)
        shard.commit({("t", 0): 1, ("old", 0): 2}, member_id, 1)
        self.keep_alive(shard, member_id, RETENTION_MINUTES + INTERVAL_MS // MINUTE)
        assert shard.fetch() == {("t", 0): 1}
        assert shard.group.state is GroupState.STABLE

    def test_nothing_expires_in_a_group_of_another_protocol_type(self, shard: Harness) -> None:
        (member_id,) = shard.stable_group(None, protocol_type="connect", session_ms=2 * MINUTE)
        shard.commit({("t", 0): 1}, member_id, 1)
        self.keep_alive(shard, member_id, RETENTION_MINUTES * 2)
        assert shard.fetch() == {("t", 0): 1}

    @pytest.mark.parametrize("retention_minutes", [20, 300])
    def test_a_retention_of_the_clients_own(self, shard: Harness, retention_minutes: int) -> None:
        shard.commit({("t", 0): 1}, retention_ms=retention_minutes * MINUTE, version=2)
        shard.sleep(retention_minutes * MINUTE - INTERVAL_MS)
        assert shard.fetch() == {("t", 0): 1}
        shard.sleep(INTERVAL_MS)
        assert shard.fetch() == {}

    def test_offset_with_an_open_transaction_stays(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1, ("t", 1): 2})
        shard.commit_in_transaction(7, {("t", 0): 5})
        shard.sleep(RETENTION_MINUTES * MINUTE * 2)
        assert shard.fetch() == {("t", 0): 1}
        assert shard.group.state is GroupState.EMPTY
        shard.end_transaction(7, committed=False)
        shard.sleep(INTERVAL_MS)
        assert shard.shard.groups.get(GROUP) is None

    def test_group_of_pending_offsets_only_stays(self, shard: Harness) -> None:
        shard.commit_in_transaction(7, {("t", 0): 5})
        shard.sleep(RETENTION_MINUTES * MINUTE * 2)
        assert shard.group.state is GroupState.EMPTY

    def test_empty_group_without_offsets_goes_at_once(self, shard: Harness) -> None:
        shard.leave(*shard.stable_group(None))
        shard.sleep(INTERVAL_MS)
        assert shard.shard.groups.get(GROUP) is None

    def test_group_that_somebody_is_about_to_join_stays(self, shard: Harness) -> None:
        member_id = shard.new_member_id(session_ms=2 * INTERVAL_MS)
        shard.sleep(INTERVAL_MS)
        assert shard.join(member_id).is_parked

    def test_it_is_tried_again_if_it_cannot_be_stored(self, shard: Harness) -> None:
        shard.commit({("t", 0): 1})
        shard.append_error = ErrorCode.NOT_COORDINATOR
        shard.sleep(RETENTION_MINUTES * MINUTE * 2)
        assert shard.fetch() == {("t", 0): 1}
        shard.append_error = None
        shard.sleep(INTERVAL_MS)
        assert shard.fetch() == {}
