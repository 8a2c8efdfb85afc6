"""The same cases against kbroker and against Apache Kafka: what passes there must pass here."""
