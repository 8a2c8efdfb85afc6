"""The transaction coordinator: which producer owns a transactional id, and how its transactions end (KIP-98).

    shard.py            one partition of __transaction_state: the machine that the runtime drives
      initialization.py   InitProducerId: new ids and epochs, fencing (KIP-360, KIP-588)
      partitions.py       AddPartitionsToTxn, AddOffsetsToTxn, verification (KIP-890)
      ending.py           EndTxn of both generations, and the abort that fencing and time-outs cause
      completion.py       from the decision over the markers to the completed transaction
      expiration.py       transactions that take too long, transactional ids that nobody uses
      description.py      DescribeTransactions, ListTransactions
    transaction.py      a transactional id: what the log says of it, and what is about to be written
    states.py           the states of a transaction, as a table
    records.py          the records of __transaction_state
    pattern.py          the regular expressions of ListTransactions (RE2)
    markers.py          sends the markers to the leaders of the transaction's partitions
    config.py           the broker configs that matter here
    service.py          requests in, responses out, across all shards

All but ``service.py`` and ``markers.py`` is free of I/O, clock and randomness.
"""
