"""The Python clients: installed with the project's tests, hence always there."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

from compat.clients.client_kind import ClientKind, NotInstalledError


def _module(name: str, needed: str) -> Callable[[], tuple[str, ...]]:
    def prepare() -> tuple[str, ...]:
        if importlib.util.find_spec(needed) is None:
            raise NotInstalledError(f"the Python package {needed} is not installed")
        return (sys.executable, "-m", f"compat.clients.python.{name}")

    return prepare


CLIENTS = (
    ClientKind("confluent-kafka", "Python", _module("confluent_driver", "confluent_kafka")),
    ClientKind("kafka-python", "Python", _module("kafka_python_driver", "kafka")),
    ClientKind("aiokafka", "Python", _module("aiokafka_driver", "aiokafka")),
)
