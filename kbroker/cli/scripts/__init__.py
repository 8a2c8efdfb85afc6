"""Programs of Apache Kafka's ``bin`` directory that prepare, start and look at a node, for the container image.

Compose files, init scripts and health checks call them as ``/opt/kafka/bin/*.sh``. The clients among Kafka's commands
are ``kbroker.tools``.
"""
