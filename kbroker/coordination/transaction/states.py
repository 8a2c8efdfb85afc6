r"""The states of a transaction, and which may follow which (Kafka's ``TransactionState``).

    EMPTY --AddPartitions--> ONGOING --EndTxn--> PREPARE_COMMIT --markers--> COMPLETE_COMMIT
                                    \--EndTxn--> PREPARE_ABORT  --markers--> COMPLETE_ABORT

    from                           to                    by
    EMPTY, COMPLETE_*              EMPTY                 InitProducerId
    EMPTY, COMPLETE_*, ONGOING     ONGOING               AddPartitionsToTxn, AddOffsetsToTxn
    ONGOING                        PREPARE_COMMIT        EndTxn(commit)
    ONGOING                        PREPARE_ABORT         EndTxn(abort)
    EMPTY, COMPLETE_*              PREPARE_ABORT         EndTxn(abort) of transactions v2: nothing was added yet
    ONGOING                        PREPARE_EPOCH_FENCE   InitProducerId, time-out
    PREPARE_EPOCH_FENCE            PREPARE_ABORT         at once
    PREPARE_COMMIT, PREPARE_ABORT  COMPLETE_*            all markers are written
    EMPTY, COMPLETE_*              DEAD                  expiry: a tombstone

PREPARE_EPOCH_FENCE and DEAD are never in the log: the first is the moment between the decision to fence an
epoch and the abort that does it, the second that between the tombstone and the removal.

Every change is in one of three steps, and a crash between any two of them is repaired from the log alone:

    decided     the next metadata is *pending*: all requests get CONCURRENT_TRANSACTIONS
    written     the record is in the log; should it be late, it stays pending until it is committed
    committed   the next metadata is the current one, and the client gets its answer

Only COMPLETE_* is the current one as soon as it is written: no answer depends on it that does not wait for a
later record of the same log.

    crash in              the log says      after the restart
    decided               the old state     as if never asked: the client, who has no answer, asks again
    written               old or new        whichever the log kept; a retry is recognised (below)
    PREPARE_*, committed  PREPARE_*         markers are sent again: partitions that have theirs take it again
    COMPLETE_* written    either            PREPARE_*: as above. COMPLETE_*: done

What a request gets, in a transaction whose producer id and epoch are those of the request (otherwise
INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED). "-> X" is the state after the committed record. In PREPARE_* the
completion is pending from the start, so that everybody is told to come again:

    request          EMPTY          ONGOING            PREPARE_*   COMPLETE_COMMIT   COMPLETE_ABORT
    init             -> EMPTY       fenced: -> PREPARE_ABORT,      -> EMPTY          -> EMPTY
                                    CONCURRENT         CONCURRENT
    add partitions   -> ONGOING     -> ONGOING         CONCURRENT  -> ONGOING        -> ONGOING
    end v1 commit    INVALID_STATE  -> PREPARE_COMMIT  CONCURRENT  ok (repeated)     INVALID_STATE
    end v1 abort     INVALID_STATE  -> PREPARE_ABORT   CONCURRENT  INVALID_STATE     ok (repeated)
    end v2 commit    INVALID_STATE  -> PREPARE_COMMIT  CONCURRENT  INVALID_STATE     INVALID_STATE
    end v2 abort     -> PREP_ABORT  -> PREPARE_ABORT   CONCURRENT  -> PREPARE_ABORT  -> PREPARE_ABORT
    time-out         nothing        -> PREPARE_ABORT   nothing     nothing           nothing

Transactions v2 give every transaction an epoch of its own: EndTxn raises it. A repeated EndTxn therefore
comes with the epoch before (or, where the epochs ran out, the producer id before with its last epoch), and
cannot be mistaken for the end of the next transaction:

    end v2, repeated ONGOING, EMPTY   FENCED: a later transaction, or a later producer
                     PREPARE_*        CONCURRENT
                     COMPLETE_*       ok with the new epoch, or INVALID_STATE for the other outcome

In the classic generation nothing tells a late EndTxn from one of the next transaction of the same epoch.
"""

from __future__ import annotations

from enum import Enum


class TransactionState(Enum):
    """The value is the number in the log; ``label`` is the name in responses."""

    EMPTY = 0
    ONGOING = 1
    PREPARE_COMMIT = 2
    PREPARE_ABORT = 3
    COMPLETE_COMMIT = 4
    COMPLETE_ABORT = 5
    DEAD = 6
    PREPARE_EPOCH_FENCE = 7

    @property
    def label(self) -> str:
        return _LABELS[self]

    @property
    def is_prepared(self) -> bool:
        """How the transaction ends is decided, and its markers are being written."""
        return self in (TransactionState.PREPARE_COMMIT, TransactionState.PREPARE_ABORT)

    @property
    def is_settled(self) -> bool:
        """There is no transaction: a new one may begin, and the transactional id may expire."""
        return self in SETTLED


_LABELS = {state: state.name.title().replace("_", "") for state in TransactionState}

STATES_BY_LABEL = {label: state for state, label in _LABELS.items()}

SETTLED = frozenset(
    {TransactionState.EMPTY, TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT}
)

PREVIOUS_STATES: dict[TransactionState, frozenset[TransactionState]] = {
    TransactionState.EMPTY: SETTLED,
    TransactionState.ONGOING: SETTLED | {TransactionState.ONGOING},
    TransactionState.PREPARE_COMMIT: frozenset({TransactionState.ONGOING}),
    TransactionState.PREPARE_ABORT: SETTLED
    | {TransactionState.ONGOING, TransactionState.PREPARE_EPOCH_FENCE},
    TransactionState.COMPLETE_COMMIT: frozenset({TransactionState.PREPARE_COMMIT}),
    TransactionState.COMPLETE_ABORT: frozenset({TransactionState.PREPARE_ABORT}),
    TransactionState.DEAD: SETTLED,
    TransactionState.PREPARE_EPOCH_FENCE: frozenset({TransactionState.ONGOING}),
}
"""From which states a transaction may come into each state."""
