"""The group coordinator: who is a member of which group, and how far each group has read.

    shard.py            one partition of __consumer_offsets: the machine that the runtime drives
      join.py             JoinGroup, in every state
      sync.py             SyncGroup
      sessions.py         Heartbeat, and members that stopped sending them
      leave.py            LeaveGroup
      rebalance.py        the phases of a rebalance, which all of the above may begin or end
      offset_commits.py   OffsetCommit, TxnOffsetCommit
      offset_queries.py   OffsetFetch
      offset_removal.py   OffsetDelete, DeleteGroups, deleted topics, retention
      description.py      DescribeGroups, ListGroups
    group.py, member.py   a group of the classic protocol and its members
    states.py             the states of a group, as a table
    registry.py           the groups of a shard
    offset_store.py       the offsets of a shard
    records.py            the records of __consumer_offsets
    subscription.py       what the members of a "consumer" group are subscribed to
    config.py             the broker configs that matter here
    service.py            requests in, responses out, across all shards

All but ``service.py`` is free of I/O, clock and randomness.
"""
