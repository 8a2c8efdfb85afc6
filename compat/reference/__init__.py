"""Apache Kafka itself, from Maven: the broker that judges, and its own tools."""
