"""Kafka's commands (``kafka-topics`` and its kin) without a JVM, for kbroker and for any other Kafka.

One module for each command: ``main()`` is its console script. What they share:

    arguments.py    the flags as people type them, and how a mistake in them is told
    session.py      the life of a command: connect, run, exit code
    cluster.py      the cluster as a command sees it: who to ask, and asking until there is an answer
    coordinators.py the same for groups and transactional ids
    producing.py    a producer: tasks around producer_queues.py, the machine that keeps records in order and single
    consuming.py    a consumer: fetching.py and group_membership.py, and what is committed

Output and exit codes are those of Apache Kafka's own commands, which scripts parse; where a message is logged there
it goes to standard error here.
"""
