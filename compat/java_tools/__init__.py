"""Apache Kafka's own tools, Streams and Connect, unmodified, against every contestant."""
