"""The Java client that belongs to Apache Kafka 4.4, and the oldest that Apache Kafka 4 still serves (KIP-896).

Both drivers are the same ``Driver.java``, compiled against either client; what the two clients have under different
names is in ``newest/Calls.java`` and ``oldest/Calls.java``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from compat.clients.client_kind import ClientKind, NotInstalledError
from compat.clients.features import FEATURES
from compat.reference.java_programs import program
from compat.reference.maven import NoReferenceError

_HERE = Path(__file__).parent
# A short life: the second compiler would never earn its keep. What the client warns of is for people to read.
_JAVA = (
    "java",
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def _prepare(which: str) -> tuple[str, ...]:
    sources = sorted([*_HERE.glob("*.java"), *(_HERE / which).glob("*.java")])
    try:
        path = program(f"client-java-{which}", sources, _HERE / which / "pom.xml")
    except NoReferenceError as error:
        raise NotInstalledError(str(error)) from None
    return (*_JAVA, "-cp", path, "Driver", *FEATURES)


CLIENTS: Final = (
    ClientKind("java 4.4.0", "Java", partial(_prepare, "newest")),
    ClientKind("java 2.1.0", "Java", partial(_prepare, "oldest")),
)
