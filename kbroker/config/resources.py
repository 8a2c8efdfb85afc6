"""What carries configs: the resources of DescribeConfigs and AlterConfigs."""

from enum import IntEnum


class ConfigResourceType(IntEnum):
    """Resources that carry configs, by Kafka's numbers (``ConfigResource.Type``)."""

    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32
