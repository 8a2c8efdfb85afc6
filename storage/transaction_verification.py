"""Verified transactions of a partition (KIP-890; Kafka: VerificationGuard, VerificationStateEntry).

A transactional batch may open a transaction in a partition only if the transaction coordinator was asked, after
the last marker of that producer, whether the partition belongs to the transaction: otherwise a batch that was
delayed on its way could open a transaction that nobody will ever end.

For each producer:

    none --start--> pending(guard) --append with that guard, or a marker--> none
                       |  ^
                       +--+ start again: the same guard        (a marker of an earlier epoch, transactions
                       +--> none, by expiry                     version 2: stays pending, the next has begun)

An append without the guard of the pending verification is refused, so a marker that comes between the question
to the coordinator and the append makes the append ask again.
"""

from __future__ import annotations


class VerificationGuard:
    """Proof that a verification was begun; compared by identity, and never written anywhere."""

    __slots__ = ()


class Verification:
    """A pending verification. `lowest_sequence` is the lowest that its epoch has been seen with: a batch behind
    it that arrives first is out of order, although nothing of the producer is in the log yet."""

    __slots__ = ("guard", "lowest_sequence", "producer_epoch", "started_ms", "supports_epoch_bump")

    def __init__(
        self, started_ms: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool
    ) -> None:
        self.guard = VerificationGuard()
        self.started_ms = started_ms
        self.lowest_sequence = sequence
        self.producer_epoch = producer_epoch
        self.supports_epoch_bump = supports_epoch_bump

    def saw(self, sequence: int, producer_epoch: int) -> None:
        """Another batch asks for the same verification."""
        if producer_epoch > self.producer_epoch:
            self.producer_epoch = producer_epoch
            self.lowest_sequence = sequence
        elif producer_epoch == self.producer_epoch:
            self.lowest_sequence = min(self.lowest_sequence, sequence)


class Verifications:
    """The pending verifications of one partition, by producer id."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending: dict[int, Verification] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def get(self, producer_id: int) -> Verification | None:
        return self._pending.get(producer_id)

    def start(
        self, producer_id: int, sequence: int, producer_epoch: int, *, supports_epoch_bump: bool, now_ms: int
    ) -> VerificationGuard:
        """The guard to append with once the coordinator has confirmed.

        `supports_epoch_bump`: the producer uses transactions version 2, where each transaction has its own epoch.
        """
        verification = self._pending.get(producer_id)
        if verification is None:
            verification = self._pending[producer_id] = Verification(
                now_ms, sequence, producer_epoch, supports_epoch_bump=supports_epoch_bump
            )
        else:
            verification.saw(sequence, producer_epoch)
        return verification.guard

    def is_guarded_by(self, producer_id: int, guard: VerificationGuard | None) -> bool:
        """Whether `guard` is that of the producer's pending verification."""
        verification = self._pending.get(producer_id)
        return verification is not None and verification.guard is guard

    def data_appended(self, producer_id: int) -> None:
        """The transaction is open in the log: nothing is left to verify."""
        self._pending.pop(producer_id, None)

    def marker_appended(self, producer_id: int, producer_epoch: int) -> None:
        """A transaction ended; what was verified before may have been that one.

        Not if the verification is of a transaction that has the marker's epoch already, under transactions
        version 2: a marker there carries the epoch of the transaction that comes next.
        """
        verification = self._pending.get(producer_id)
        if verification is None:
            return
        if verification.supports_epoch_bump and verification.producer_epoch == producer_epoch:
            return
        del self._pending[producer_id]

    def remove_expired(self, now_ms: int, expiration_ms: int) -> None:
        expired = [
            producer_id
            for producer_id, verification in self._pending.items()
            if now_ms - verification.started_ms >= expiration_ms
        ]
        for producer_id in expired:
            del self._pending[producer_id]
