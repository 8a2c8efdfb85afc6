"""What ``kafka-topics --create --config`` refuses before it asks anybody (Kafka: ``LogConfig.validate``).

Names that no topic has, and values that are not of the setting's type or out of its bounds, told in Kafka's words; what
else a value may be is the broker's to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from kbroker.config.definition import ConfigError
from kbroker.config.topic_keys import TOPIC_KEYS
from kbroker.tools.session import CommandError


def check_topic_settings(settings: Mapping[str, str]) -> None:
    """CommandError with Kafka's text for the first setting that is wrong."""
    for name in settings:
        if name not in TOPIC_KEYS:
            raise CommandError(f"Unknown topic config name: {name}")
    for definition in TOPIC_KEYS:
        text = settings.get(definition.name)
        if text is not None:
            try:
                definition.parse(text)
            except ConfigError as error:
                raise CommandError(str(error)) from None
