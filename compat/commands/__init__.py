"""kbroker's commands beside Apache Kafka's: the same command lines, and what either prints."""
