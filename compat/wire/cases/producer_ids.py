"""InitProducerId. (AllocateProducerIds is between Kafka's brokers and controllers.)"""

from __future__ import annotations

from compat.wire.arrange import topic_with
from compat.wire.case import Cases
from compat.wire.producers import (
    TRANSACTION_TIMEOUT_MS,
    Producer,
    await_transactions,
    begin,
    begin_classic,
    end,
    idempotent,
    transactional,
)
from compat.wire.scene import Scene
from wire.errors import ErrorCode
from wire.messages.producer_ids import InitProducerIdRequest, InitProducerIdResponse

INIT_PRODUCER_ID = Cases(InitProducerIdRequest)

WITH_ID = "3+"
"""Since then a producer may say who it has been."""


def init(
    transactional_id: str | None,
    timeout_ms: int = TRANSACTION_TIMEOUT_MS,
    *,
    producer_id: int = -1,
    epoch: int = -1,
) -> InitProducerIdRequest:
    return InitProducerIdRequest(
        transactional_id=transactional_id,
        transaction_timeout_ms=timeout_ms,
        producer_id=producer_id,
        producer_epoch=epoch,
    )


def is_settled(answer: InitProducerIdResponse) -> bool:
    return answer.error_code != ErrorCode.CONCURRENT_TRANSACTIONS


def idempotent_first(at: Scene) -> bool:
    """The first producer id may take a broker a moment."""
    idempotent(at)
    return True


INIT_PRODUCER_ID.add("idempotent", lambda at: idempotent_first(at) and init(None))
INIT_PRODUCER_ID.add("idempotent, without a timeout", lambda at: idempotent_first(at) and init(None, -1))
INIT_PRODUCER_ID.add("idempotent, without time", lambda at: idempotent_first(at) and init(None, 0))


@INIT_PRODUCER_ID.case("transactional, three times")
def _three_times(at: Scene) -> None:
    await_transactions(at)
    for _ in range(3):
        at.ask_until(init(at.name("t")), InitProducerIdResponse, is_settled)


INIT_PRODUCER_ID.add("an empty transactional id", lambda at: await_transactions(at) or init(""))
for timeout_ms in (0, -1, 900_000, 900_001, 2**31 - 1):
    INIT_PRODUCER_ID.add(
        f"a timeout of {timeout_ms} ms",
        lambda at, timeout_ms=timeout_ms: await_transactions(at) or init(at.name("t"), timeout_ms),
    )


@INIT_PRODUCER_ID.case("while a transaction goes on")
def _while_open(at: Scene) -> None:
    producer = transactional(at)
    begin_classic(at, producer, topic_with(at, 1))
    at.ask(init(producer.transactional_id))
    at.ask_until(init(producer.transactional_id), InitProducerIdResponse, is_settled)


@INIT_PRODUCER_ID.case("after a transaction of the newer kind")
def _after_newer(at: Scene) -> None:
    producer = transactional(at)
    begin(at, producer, topic_with(at, 1), b"x")
    end(at, producer, commit=True)
    at.ask(init(producer.transactional_id))


@INIT_PRODUCER_ID.case("while a transaction of the newer kind goes on")
def _while_newer_open(at: Scene) -> None:
    producer = transactional(at)
    begin(at, producer, topic_with(at, 1), b"x")
    at.ask(init(producer.transactional_id))
    at.ask_until(init(producer.transactional_id), InitProducerIdResponse, is_settled)


@INIT_PRODUCER_ID.case("its own id and epoch, and again", WITH_ID)
def _own_epoch(at: Scene) -> None:
    producer = transactional(at)
    request = init(producer.transactional_id, producer_id=producer.producer_id, epoch=producer.epoch)
    at.ask(request)
    at.ask(request)


def initialised_again(at: Scene) -> Producer:
    """A producer whose transactional id has been initialised since."""
    first = transactional(at)
    transactional(at)
    return first


for what, id_offset, epoch_offset in (
    ("an earlier epoch", 0, 0),
    ("a later epoch", 0, 7),
    ("an epoch before all", 0, -1),
    ("another id", 1_000, 1),
):

    @INIT_PRODUCER_ID.case(f"its own id and {what}", WITH_ID)
    def _other_epoch(at: Scene, id_offset: int = id_offset, epoch_offset: int = epoch_offset) -> None:
        producer = initialised_again(at)
        at.ask(
            init(
                producer.transactional_id,
                producer_id=producer.producer_id + id_offset,
                epoch=producer.epoch + epoch_offset,
            )
        )


@INIT_PRODUCER_ID.case("its own id and epoch while a transaction goes on", WITH_ID)
def _own_epoch_while_open(at: Scene) -> None:
    producer = transactional(at)
    begin_classic(at, producer, topic_with(at, 1))
    request = init(producer.transactional_id, producer_id=producer.producer_id, epoch=producer.epoch)
    at.ask(request)
    at.ask_until(request, InitProducerIdResponse, is_settled)


INIT_PRODUCER_ID.add(
    "an id and an epoch of nobody",
    lambda at: await_transactions(at) or init(at.name("t"), producer_id=77, epoch=3),
    WITH_ID,
)
INIT_PRODUCER_ID.add("an id without an epoch", lambda at: init(at.name("t"), producer_id=77), WITH_ID)
INIT_PRODUCER_ID.add("an epoch without an id", lambda at: init(at.name("t"), epoch=3), WITH_ID)
INIT_PRODUCER_ID.add(
    "idempotent, with an id and an epoch",
    lambda at: idempotent_first(at) and init(None, producer_id=77, epoch=3),
    WITH_ID,
)
INIT_PRODUCER_ID.add("idempotent, with an id alone", lambda at: init(None, producer_id=77), WITH_ID)
INIT_PRODUCER_ID.add(
    "idempotent, with an id below none", lambda at: init(None, producer_id=-2, epoch=0), WITH_ID
)
