"""A whole cluster of brokers and its clients in one process, under virtual time; one seed is one test case.

    agenda      what is to happen at which virtual moment; the clock that jumps there
    processes   processes that can be stopped like by SIGSTOP and killed like by SIGKILL; seeded scheduling
    trace       a checksum of everything that happens, and the story for people
    network     hosts, ordered byte streams, partitions, half-open connections
    store       the cluster's metadata store, reached over links that fail
    world       the World of one life of a broker
    machine     a computer with a disk, on which one broker lives after the other
    settings    what a seed draws: size, topics, configuration, which faults there are
    faults      the schedule of faults
    clients/    producers, consumers, transactions; they record a history for ``tests.anomalies``
    invariants  what must hold at every moment, looked up inside the brokers
    aftermath   what must hold when everything has healed
    simulation  one seed from its draw to its outcome

What is guaranteed, and checked, for which settings (``kbroker.acks.all.sync`` is on):

* A record acknowledged with acks=all is on the disk of every replica that is in sync: no crash, power loss, pause or
  partition loses it, with one replica or several. A disk that loses a directory is only drawn where another
  replica in sync has all (``faults``).
* What consumers read need not be on a disk yet (as in Kafka), so a power loss may take back records that were read
  and not acknowledged. Polls from before a power loss are therefore left out of the history in seeds that have
  one; whatever was acknowledged is judged all the same.
* acks=1 promises nothing, and without idempotence a retry would duplicate: such producers try once.
"""
