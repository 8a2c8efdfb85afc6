"""What voters say to one another before there is a quorum, on the port that etcd's peers use afterwards.

One question, ``GET /members``, with who asks in the query. A blank voter answers with a JSON object that says who it
is; in the place of a member etcd answers, with the JSON list of its cluster's members (``rafthttp``'s ``/members``).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import trio

from kbroker.world import Connection, ConnectionLost, Network

_PATH: Final = "/members"
_OK: Final = 200
_HEAD_BYTES_MAX: Final = 8 << 10
_ANSWER_BYTES_MAX: Final = 1 << 20
_EXCHANGE_S: Final = 2.0
_CONNECTIONS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Statement:
    """Who a blank voter is: its node id, the quorum that it means to be in, and whom it has heard to be blank."""

    node_id: int
    cluster_id: str
    voters: str
    heard: frozenset[int] = frozenset()

    def means_the_same_quorum_as(self, other: Statement) -> bool:
        return (self.cluster_id, self.voters) == (other.cluster_id, other.voters)

    def as_fields(self) -> dict[str, str]:
        heard = ",".join(map(str, sorted(self.heard)))
        return {
            "node.id": str(self.node_id),
            "cluster.id": self.cluster_id,
            "voters": self.voters,
            "heard": heard,
        }

    @classmethod
    def from_fields(cls, fields: object) -> Statement | None:
        """None if that is no statement."""
        if not isinstance(fields, dict):
            return None
        found = [fields.get(name) for name in ("node.id", "cluster.id", "voters", "heard")]
        texts = [text for text in found if isinstance(text, str)]
        if len(texts) < len(found):
            return None
        node_id, cluster_id, voters, heard = texts
        try:
            return cls(int(node_id), cluster_id, voters, frozenset(map(int, filter(None, heard.split(",")))))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Members:
    """etcd's answer: the peer addresses of its cluster's members."""

    peer_addresses: frozenset[str]


class NoAnswer(Exception):
    """Nobody answered, or nobody whom this protocol knows; the message says what happened."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: bytes


async def http_get(network: Network, host: str, port: int, target: str, *, timeout_s: float) -> HttpAnswer:
    """One GET over a connection of its own. NoAnswer if that fails within ``timeout_s``, or the answer is no HTTP."""
    request = f"GET {target} HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode("ascii")
    answer = bytearray()
    try:
        with trio.fail_after(timeout_s):
            connection = await network.connect(host, port)
            try:
                await connection.send([request])
                while data := await _receive(connection):
                    answer += data
                    if len(answer) > _ANSWER_BYTES_MAX:
                        raise NoAnswer("the answer does not end")
            finally:
                connection.close()
    except trio.TooSlowError:
        raise NoAnswer(f"no answer within {timeout_s:g} s") from None
    except (ConnectionLost, OSError) as error:
        raise NoAnswer(str(error)) from error
    head, blank_line, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if not blank_line or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise NoAnswer("what answers does not speak HTTP")
    return HttpAnswer(int(words[1]), body)


async def ask(network: Network, host: str, port: int, mine: Statement) -> Statement | Members:
    """Say who this voter is, and hear who is there. NoAnswer if nobody is, or somebody else."""
    target = f"{_PATH}?{urlencode(mine.as_fields())}"
    answer = await http_get(network, host, port, target, timeout_s=_EXCHANGE_S)
    try:
        said = json.loads(answer.body) if answer.status == _OK else None
    except ValueError:
        said = None
    if isinstance(said, list):
        return Members(frozenset(_peer_addresses(said)))
    theirs = Statement.from_fields(said)
    if theirs is None:
        raise NoAnswer("what answers is neither a voter nor etcd")
    return theirs


def _peer_addresses(members: list[object]) -> list[str]:
    found: list[str] = []
    for member in members:
        addresses = member.get("peerURLs") if isinstance(member, dict) else None
        if isinstance(addresses, list):
            found += [address for address in addresses if isinstance(address, str)]
    return found


Converse = Callable[[Statement], Awaitable[Statement]]
"""Takes what another voter says when it asks, and gives the answer."""


async def answer_voters(
    network: Network,
    host: str,
    port: int,
    converse: Converse,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled. OSError if it cannot."""
    listener = await network.listen(host, port)
    try:
        task_status.started()
        limiter = trio.CapacityLimiter(_CONNECTIONS_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                connection = await listener.accept()
                nursery.start_soon(_answer_one, connection, converse, limiter)
    finally:
        listener.close()


async def _answer_one(connection: Connection, converse: Converse, limiter: trio.CapacityLimiter) -> None:
    try:
        async with limiter:
            with trio.move_on_after(_EXCHANGE_S):
                asking = Statement.from_fields(await _receive_query(connection))
                if asking is None:
                    await connection.send([b"HTTP/1.0 404 Not Found\r\n\r\n"])
                    return
                body = json.dumps((await converse(asking)).as_fields()).encode()
                head = f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                await connection.send([head.encode("ascii") + body])
    except ConnectionLost:
        pass
    finally:
        connection.close()


async def _receive_query(connection: Connection) -> dict[str, str] | None:
    """The query's fields of a request for ``/members``; None for any other request."""
    head = bytearray()
    while b"\r\n\r\n" not in head:
        data = await _receive(connection)
        if not data or len(head) + len(data) > _HEAD_BYTES_MAX:
            return None
        head += data
    words = head.decode("latin-1").split(maxsplit=2)
    if len(words) < 2 or words[0] != "GET":
        return None
    parts = urlsplit(words[1])
    if parts.path != _PATH:
        return None
    return {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}


async def _receive(connection: Connection) -> bytes:
    buffer = bytearray(4096)
    count = await connection.receive_into(memoryview(buffer))
    return bytes(buffer[:count])
