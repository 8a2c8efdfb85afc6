"""A broker that restarts and a leader that dies, under a producer and a consumer that go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from compat.clients.client import Client, Consumer, Message, Producer, eventually, poll_until
from compat.clients.driver import DriverError
from compat.clients.witness import Witness
from compat.conftest import UniqueName
from compat.contestants import START_DEADLINE_S, Cluster
from tests.broker_process import BrokerProcess

BATCHES = 5
BATCH_RECORDS = 5
PROGRESS_DEADLINE_S = 120.0
"""For getting on after the broker is back: libraries wait for up to half a minute before they look again."""
_PACE_S = 0.01


@pytest.mark.feature("restart")
def test_producer_and_consumer_go_on_after_a_restart(
    client: Client, restartable: BrokerProcess, unique_name: UniqueName
) -> None:
    witness, topic = Witness(restartable.bootstrap_server), unique_name("restart")
    witness.create_topic(topic)
    producer = _producer(client, restartable.bootstrap_server)
    consumer = _consumer(client, restartable.bootstrap_server, topic, unique_name("group"))

    with Stream(producer, topic).sending() as stream:
        stream.wait_for_more()
        first_life = restartable.pid
        assert restartable.terminate() in (0, 143)
        restartable.start(deadline_s=START_DEADLINE_S)
        assert restartable.pid != first_life
        stream.wait_for_more()

    _check(client, witness, stream, consumer)


@pytest.mark.feature("failover")
def test_producer_and_consumer_go_on_after_the_loss_of_a_leader(
    client: Client, cluster: Cluster, unique_name: UniqueName
) -> None:
    witness, topic = Witness(cluster.bootstrap_servers), unique_name("failover")
    eventually(witness.broker_count, len(cluster.brokers))
    witness.create_topic(topic, replication_factor=3, config={"min.insync.replicas": "2"})
    producer = _producer(client, cluster.bootstrap_servers)
    consumer = _consumer(client, cluster.bootstrap_servers, topic, unique_name("group"))

    with Stream(producer, topic).sending() as stream:
        stream.wait_for_more()
        leader = witness.leader(topic)
        cluster.brokers[leader].kill()
        stream.wait_for_more()

    assert witness.leader(topic) != leader
    _check(client, witness, stream, consumer)


class Stream:
    """Small batches one after the other from a thread of its own, and which of them were acknowledged."""

    def __init__(self, producer: Producer, topic: str) -> None:
        self._producer = producer
        self.topic = topic
        self._stop = threading.Event()
        self._progress = threading.Condition()
        self._failure: BaseException | None = None
        self.acknowledged: list[bytes] = []
        self.given_up: list[str] = []
        """Errors of batches that the library did not get through; they may be in the log or not."""

    @contextmanager
    def sending(self) -> Iterator[Stream]:
        """Sends for the length of the block."""
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()
        if self._failure is not None:
            raise self._failure

    def wait_for_more(self) -> None:
        """Until ``BATCHES`` more batches than now are acknowledged."""
        wanted = len(self.acknowledged) + BATCHES * BATCH_RECORDS
        with self._progress:
            came = self._progress.wait_for(
                lambda: self._failure is not None or len(self.acknowledged) >= wanted, PROGRESS_DEADLINE_S
            )
        if self._failure is not None:
            raise self._failure
        assert came, f"{len(self.acknowledged)} of {wanted} acknowledged; given up: {self.given_up[-3:]}"

    def _send(self) -> None:
        number = 0
        try:
            while not self._stop.wait(_PACE_S):
                values = [b"%06d" % (number + index) for index in range(BATCH_RECORDS)]
                number += BATCH_RECORDS
                self._send_batch(values)
        except BaseException as error:
            self._failure = error
        finally:
            with self._progress:
                self._progress.notify_all()

    def _send_batch(self, values: list[bytes]) -> None:
        try:
            self._producer.send([Message(self.topic, value=value) for value in values])
        except DriverError as error:
            self.given_up.append(str(error))
            return
        with self._progress:
            self.acknowledged += values
            self._progress.notify_all()


def _producer(client: Client, bootstrap_servers: str) -> Producer:
    return client.producer(bootstrap_servers, idempotent=client.supports("idempotent"))


def _consumer(client: Client, bootstrap_servers: str, topic: str, group: str) -> Consumer:
    """In a group where the library has groups, and reading before anything happens."""
    if client.supports("eager"):
        consumer = client.member(bootstrap_servers, [topic], group)
    else:
        consumer = client.reader(bootstrap_servers, topic, group)
    poll_until([consumer], lambda: consumer.assignment == {(topic, 0)})
    return consumer


def _check(client: Client, witness: Witness, stream: Stream, consumer: Consumer) -> None:
    """Nothing acknowledged is lost, nothing idempotent is twice there, and the consumer has read it all."""
    records = witness.records(stream.topic)
    values = [record.value for record in records]
    assert set(stream.acknowledged) <= set(values), "acknowledged records are lost"
    if client.supports("idempotent"):
        assert len(values) == len(set(values)), "an idempotent producer's records are there twice"
        assert values == sorted(value or b"" for value in values), "records are out of order"
    # What was not committed may be read again after a rebalance.
    poll_until(
        [consumer],
        lambda: {found.offset for found in consumer.received} >= {one.offset for one in records},
        deadline_s=PROGRESS_DEADLINE_S,
    )
    assert {(found.offset, found.value) for found in consumer.received} == {
        (record.offset, record.value) for record in records
    }
