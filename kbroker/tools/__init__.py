"""Kafka's commands (``kafka-topics`` and its kin) without a JVM, for kbroker and for any other Kafka.

One module for each command: ``main()`` is its console script. What they share:

    arguments.py    the flags as people type them, and how a mistake in them is told
    session.py      the life of a command: connect, run, exit code
    cluster.py      the cluster as a command sees it: who to ask, and asking until there is an answer

Output and exit codes are those of Apache Kafka's own commands, which scripts parse; where a message is logged there
it goes to standard error here.
"""
