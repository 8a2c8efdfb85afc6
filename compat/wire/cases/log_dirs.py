"""DescribeLogDirs, AlterReplicaLogDirs."""

from __future__ import annotations

from compat.wire.arrange import standing_topic, topic_with
from compat.wire.case import Cases
from compat.wire.logs import standing_log
from compat.wire.scene import Scene
from wire.messages.log_dirs import (
    AlterReplicaLogDirsRequest,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
)

DESCRIBE_LOG_DIRS = Cases(DescribeLogDirsRequest)
ALTER_REPLICA_LOG_DIRS = Cases(AlterReplicaLogDirsRequest)


def describe(*topics: tuple[str, tuple[int, ...]]) -> DescribeLogDirsRequest:
    return DescribeLogDirsRequest(
        topics=[
            DescribeLogDirsRequest.DescribableLogDirTopic(topic=name, partitions=list(partitions))
            for name, partitions in topics
        ]
    )


DESCRIBE_LOG_DIRS.add("all", lambda at: topic_with(at, 2) and DescribeLogDirsRequest(topics=None))
DESCRIBE_LOG_DIRS.add("a log", lambda at: describe((standing_log(at).name, (0, 1))))
DESCRIBE_LOG_DIRS.add("one partition", lambda at: describe((standing_log(at).name, (0,))))
DESCRIBE_LOG_DIRS.add("an unknown partition", lambda at: describe((standing_log(at).name, (9, -1))))
DESCRIBE_LOG_DIRS.add("an unknown topic", lambda at: describe((at.name("absent"), (0,))))
DESCRIBE_LOG_DIRS.add("no partitions", lambda at: describe((standing_log(at).name, ())))
DESCRIBE_LOG_DIRS.add("no topics", lambda at: describe())
DESCRIBE_LOG_DIRS.add(
    "a topic twice", lambda at: describe((standing_log(at).name, (0,)), (standing_log(at).name, (0, 1)))
)


def directory(at: Scene) -> str:
    """The one log directory of the broker."""
    found = at.call(describe(), DescribeLogDirsResponse)
    return found.results[0].log_dir


def move(path: str, *topics: tuple[str, tuple[int, ...]]) -> AlterReplicaLogDirsRequest:
    found = AlterReplicaLogDirsRequest.AlterReplicaLogDir
    return AlterReplicaLogDirsRequest(
        dirs=[
            found(
                path=path,
                topics=[
                    found.AlterReplicaLogDirTopic(name=name, partitions=list(partitions))
                    for name, partitions in topics
                ],
            )
        ]
    )


ALTER_REPLICA_LOG_DIRS.add(
    "to where it is", lambda at: move(directory(at), (standing_topic(at).name, (0, 1)))
)
for path in ("/no/such/directory", "relative", "", "/"):
    ALTER_REPLICA_LOG_DIRS.add(
        f"to {path!r}", lambda at, path=path: move(path, (standing_topic(at).name, (0,)))
    )
ALTER_REPLICA_LOG_DIRS.add("an unknown topic", lambda at: move(directory(at), (at.name("absent"), (0,))))
ALTER_REPLICA_LOG_DIRS.add(
    "an unknown partition", lambda at: move(directory(at), (standing_topic(at).name, (9, -1)))
)
ALTER_REPLICA_LOG_DIRS.add(
    "a partition twice", lambda at: move(directory(at), (standing_topic(at).name, (0, 0)))
)
ALTER_REPLICA_LOG_DIRS.add("no topics", lambda at: move(directory(at)))
ALTER_REPLICA_LOG_DIRS.add("no directories", lambda at: AlterReplicaLogDirsRequest())
