"""KIP-951: a refusal says who leads instead. On real partitions, through the codec."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kbroker.adapters import KnownLeaders
from kbroker.handlers.produce import ProduceHandlers
from kbroker.metadata.image import BrokerRegistration, ClusterImage, Endpoint, PartitionState, TopicImage
from tests.kbroker.handlers.fake_transactions import Settings, TrioTime, verifier_of
from tests.kbroker.handlers.requests import send
from tests.kbroker.handlers.test_waiting import TOPIC_ID, Setting, State
from tests.running_broker import batch
from wire.errors import ErrorCode
from wire.messages.produce import ProduceRequest, ProduceResponse

NOT_LEADER = ErrorCode.NOT_LEADER_OR_FOLLOWER
NOBODY = (-1, -1)


def broker(node_id: int, *, fenced: bool = False) -> BrokerRegistration:
    return BrokerRegistration(
        node_id=node_id,
        broker_epoch=1,
        incarnation_id=uuid.UUID(int=node_id),
        endpoints={"PLAINTEXT": Endpoint("", 9090 + node_id), "INTERNAL": Endpoint("in", 1)},
        rack=f"rack-{node_id}",
        fenced=fenced,
    )


class Subject(Setting):
    """Broker 1 with the replicas of ``t``, and an image of three brokers."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.image = ClusterImage(brokers={node_id: broker(node_id) for node_id in (1, 2, 3)})
        self.producing = ProduceHandlers(
            partitions=self.replicas,
            verifier=verifier_of(self.replicas),
            settings=Settings(),
            world=TrioTime(),
            leader_hints=KnownLeaders(1, self.replicas, lambda: self.image),
        )
        self.lead((1, 0), (1, 0))

    def lead(self, *leaders: tuple[int, int]) -> None:
        """The image says so: (leader, epoch) of each partition."""
        states = tuple(PartitionState((1, 2), (1, 2), leader, epoch) for leader, epoch in leaders)
        topic = TopicImage("t", TOPIC_ID, states, 1)
        self.image = self.image._replace(topics={"t": topic}, topics_by_id={TOPIC_ID: topic})

    async def ask(
        self, version: int = 13, *, acks: int = 1, listener_name: str = "PLAINTEXT"
    ) -> ProduceResponse:
        data = ProduceRequest.TopicProduceData(
            name="t",
            topic_id=TOPIC_ID,
            partition_data=[
                ProduceRequest.TopicProduceData.PartitionProduceData(index=index, records=batch(b"x"))
                for index in (0, 1)
            ],
        )
        request = ProduceRequest(acks=acks, timeout_ms=1000, topic_data=[data])
        response = await send(
            self.producing.produce, request, version, listener_name=listener_name, local_host="me"
        )
        assert isinstance(response, ProduceResponse)
        return response


def told(response: ProduceResponse) -> list[tuple[int, int, int]]:
    """(error, leader, epoch) of each partition."""
    return [
        (partition.error_code, partition.current_leader.leader_id, partition.current_leader.leader_epoch)
        for partition in response.responses[0].partition_responses
    ]


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    subject = Subject(tmp_path)
    yield subject
    subject.logs.abandon()


@pytest.mark.parametrize("version", range(3, 14))
async def test_the_leader_is_told_since_version_10(subject: Subject, version: int) -> None:
    subject.apply(State(leader=2, leader_epoch=4))
    subject.lead((2, 4), (2, 4))
    response = await subject.ask(version)
    if version < 10:
        assert told(response) == [(NOT_LEADER, *NOBODY)] * 2
        assert response.node_endpoints == []
    else:
        assert told(response) == [(NOT_LEADER, 2, 4)] * 2
        (node,) = response.node_endpoints
        assert (node.node_id, node.host, node.port, node.rack) == (2, "me", 9092, "rack-2")


async def test_nothing_is_told_of_what_is_led_here(subject: Subject) -> None:
    response = await subject.ask()
    assert told(response) == [(ErrorCode.NONE, *NOBODY)] * 2
    assert response.node_endpoints == []


async def test_each_partition_has_its_own(subject: Subject) -> None:
    subject.apply(State(leader=2, leader_epoch=4))
    subject.lead((2, 4), (3, 9))
    response = await subject.ask()
    assert told(response) == [(NOT_LEADER, 2, 4), (NOT_LEADER, 3, 9)]
    assert [node.node_id for node in response.node_endpoints] == [2, 3]


async def test_who_waits_is_told_before_the_image_shows_it(
    subject: Subject, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            response = await subject.ask(acks=-1)
            assert told(response) == [(NOT_LEADER, 2, 4)] * 2
            assert [node.node_id for node in response.node_endpoints] == [2]

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        subject.apply(State(leader=2, leader_epoch=4))


async def test_a_leader_that_cannot_be_reached_has_no_address(subject: Subject) -> None:
    subject.apply(State(leader=2, leader_epoch=4))
    subject.image = subject.image._replace(brokers={1: broker(1), 2: broker(2, fenced=True)})
    response = await subject.ask()
    assert told(response) == [(NOT_LEADER, 2, 4)] * 2
    assert response.node_endpoints == []
    subject.image = subject.image._replace(brokers={1: broker(1), 2: broker(2)})
    response = await subject.ask(listener_name="OTHER")
    assert response.node_endpoints == [], "it has no such listener"


async def test_nobody_leads(subject: Subject) -> None:
    subject.apply(State(leader=-1, leader_epoch=4))
    assert told(await subject.ask()) == [(NOT_LEADER, *NOBODY)] * 2


async def test_nobody_is_sent_back_to_where_they_were_refused(subject: Subject) -> None:
    subject.lead((1, 9), (1, 9))  # it is to lead, but the replica does not know yet
    subject.apply(State(leader=2, leader_epoch=4))
    assert told(await subject.ask()) == [(NOT_LEADER, *NOBODY)] * 2


async def test_other_errors_say_nothing_of_leaders(subject: Subject) -> None:
    subject.replicas.remove_topic("t")
    subject.lead((2, 4), (2, 4))
    response = await subject.ask(12)
    assert told(response) == [(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, *NOBODY)] * 2
