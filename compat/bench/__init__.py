"""kbroker, Apache Kafka and franz-go's kfake under the same load, one after another in one run."""
