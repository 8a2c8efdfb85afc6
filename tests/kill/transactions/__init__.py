"""The kill test with transactions: consume-transform-produce while the broker and its clients are killed.

An idempotent producer fills the input topic. Workers, each a process of its own and all of one group, read it
(read_committed) and write every number to two output topics, in different partitions, with the consumed offsets in the
same transaction. The broker is killed; workers are killed, stopped in mid-air and replaced (so that they come back as
fenced zombies), abort of their own accord, and transactions are left open for the broker to time out. When all of
that is over, the output must be the input, exactly once.
"""
