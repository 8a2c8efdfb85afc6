"""The commands' producer and consumer while their broker is killed and comes back: nothing lost, nothing twice."""

from __future__ import annotations

from pathlib import Path

import trio

from kbroker.tools.consuming import ConsumerSettings, consuming
from kbroker.tools.fetching import EARLIEST
from kbroker.tools.group_membership import Subscription
from kbroker.tools.producer_settings import ProducerSettings
from kbroker.tools.producing import Producer, producing
from kbroker.tools.session import Connected
from tests.broker_process import BrokerProcess
from wire.errors import ApiError, ErrorCode

COUNT = 600


async def test_a_broker_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    overrides = {
        "num.partitions": 3,
        "offsets.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    failures: list[ApiError] = []
    acknowledged = 0

    def done(error: ApiError | None) -> None:
        nonlocal acknowledged
        if error is None:
            acknowledged += 1
        else:
            failures.append(error)

    async def send_all(producer: Producer) -> None:
        for number in range(COUNT):
            await producer.send("t", None, b"%d" % number, partition=number % 3, done=done)
            if (
                number % 60 == 0
            ):  # in bursts, so that several batches of each partition are under way at a time
                await trio.sleep(0.1)

    with BrokerProcess(tmp_path, overrides=overrides) as broker:
        broker.start()
        server = broker.bootstrap_server
        group = ConsumerSettings.from_properties({"group.id": "g", "auto.offset.reset": "earliest"})
        producer_settings = ProducerSettings(batch_size_bytes=200, linger_ms=0, request_timeout_ms=2000)
        with trio.fail_after(50):
            async with (
                Connected(server, {}) as cluster,
                producing(cluster, producer_settings) as producer,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(send_all, producer)
                while acknowledged < COUNT // 4:
                    await trio.sleep(0.01)
                await trio.to_thread.run_sync(broker.kill)
                await trio.sleep(0.3)
                broker.start()
            assert (acknowledged, failures) == (COUNT, [])
            values: dict[int, list[int]] = {0: [], 1: [], 2: []}
            async with (
                Connected(server, {}) as cluster,
                consuming(cluster, group, subscription=Subscription(["t"])) as consumer,
            ):
                killed = False
                while sum(map(len, values.values())) < COUNT:
                    batch = await consumer.next(20)
                    assert batch is not None
                    values[batch.partition[1]] += [int(record.value or b"") for record in batch.records]
                    consumer.consumed(batch)
                    if not killed and sum(map(len, values.values())) > COUNT // 3:
                        killed = True
                        await trio.to_thread.run_sync(broker.kill)
                        broker.start()
    assert values == {partition: list(range(partition, COUNT, 3)) for partition in range(3)}


async def test_what_cannot_be_delivered_in_time_is_given_up(tmp_path: Path) -> None:
    failures: list[ApiError | None] = []
    with BrokerProcess(tmp_path, overrides={"num.partitions": 1}) as broker:
        broker.start()
        settings = ProducerSettings(linger_ms=0, delivery_timeout_ms=500, request_timeout_ms=300)
        with trio.fail_after(30):
            async with (
                Connected(broker.bootstrap_server, {}) as cluster,
                producing(cluster, settings) as producer,
            ):
                await producer.send("t", None, b"first", done=failures.append)
                await producer.flush()
                broker.kill()
                await producer.send("t", None, b"lost", done=failures.append)
                await producer.flush()
                broker.start()
                await producer.send("t", None, b"last", done=failures.append)
            assert [None if error is None else error.code.retriable for error in failures] == [
                None,
                True,
                None,
            ]
            async with (
                Connected(broker.bootstrap_server, {}) as cluster,
                consuming(
                    cluster, ConsumerSettings.from_properties({}), offsets={("t", 0): EARLIEST}
                ) as consumer,
            ):
                values: list[bytes | None] = []
                while len(values) < 2:
                    batch = await consumer.next(10)
                    assert batch is not None
                    values += [record.value for record in batch.records]
    assert values == [b"first", b"last"]
    assert ErrorCode.REQUEST_TIMED_OUT.retriable
