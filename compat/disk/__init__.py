"""The files on the disk: each broker's read by the other, and by Apache Kafka's own tool."""
