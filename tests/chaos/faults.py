"""What can be done to a cluster, and the drawing of what is done next. Nothing here does anything.

A blow is one fault or several at once, held for a while and then undone. Whatever is drawn leaves

    etcd    a majority of members that run and reach one another
    disks   every replica but one: no disk is lost before the replicas are in sync again (the nemesis looks)

Brokers may be struck all at once: what they acknowledged is on their disks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to the targets, and undone afterwards."""

    KILL = "kill -9, restart"
    TERMINATE = "SIGTERM, restart"
    PAUSE = "SIGSTOP, SIGCONT"
    LOSE_DISK = "kill -9, restart with an empty disk"
    CUT_FROM_BROKERS = "no packets to or from the other brokers"
    CUT_TO_BROKERS = "no packets to the other brokers"
    CUT_OF_BROKERS = "no packets from the other brokers"
    CUT_FROM_STORE = "no packets to or from etcd"
    CUT_FROM_ALL = "no packets to or from anybody, clients included"
    CUT_FROM_CLIENTS = "no packets to or from clients"
    SLOW = "slow link"
    KILL_MEMBER = "kill -9 of an etcd member, restart"
    PAUSE_MEMBER = "SIGSTOP, SIGCONT of an etcd member"
    CUT_MEMBER = "no packets between an etcd member and the others"
    KILL_CLIENT = "kill -9 of a client, another life"
    PAUSE_CLIENT = "SIGSTOP, SIGCONT of a client"


PROCESS_KINDS = (Kind.KILL, Kind.TERMINATE, Kind.PAUSE, Kind.LOSE_DISK)
NETWORK_KINDS = (
    *(Kind.CUT_FROM_BROKERS, Kind.CUT_TO_BROKERS, Kind.CUT_OF_BROKERS),
    *(Kind.CUT_FROM_STORE, Kind.CUT_FROM_ALL, Kind.CUT_FROM_CLIENTS, Kind.SLOW),
)
STORE_KINDS = (Kind.KILL_MEMBER, Kind.PAUSE_MEMBER, Kind.CUT_MEMBER)
CLIENT_KINDS = (Kind.KILL_CLIENT, Kind.PAUSE_CLIENT)

_WEIGHTS = {Kind.KILL: 5, Kind.PAUSE: 4, Kind.CUT_FROM_BROKERS: 3, Kind.CUT_FROM_STORE: 3}
_DOWN_S_MAX = 12.0
_PAUSE_S = (1.0, 20.0)
_DELAY_S_MAX = 4.0
_CUT_S = (1.0, 20.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """targets: names of brokers, etcd members or clients.

    delay_s: from the beginning of the blow until it is done. hold_s: from then on until it is undone.
    """

    kind: Kind
    targets: tuple[str, ...]
    hold_s: float
    delay_s: float = 0.0

    def __str__(self) -> str:
        later = f" {self.delay_s:.1f} s later" if self.delay_s else ""
        return f"{' and '.join(self.targets)}{later}: {self.kind}, {self.hold_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Victims:
    """Who there is. With hosts, links can be cut; with one process for all brokers there are none."""

    brokers: tuple[str, ...]
    members: tuple[str, ...]
    clients: tuple[str, ...]
    hosts: bool = True

    @property
    def members_to_spare(self) -> int:
        return max(0, (len(self.members) - 1) // 2)


def kinds_for(victims: Victims, allowed: Sequence[Kind] = tuple(Kind)) -> list[Kind]:
    """The kinds that make sense with these victims."""
    without: set[Kind] = set()
    if len(victims.brokers) < 2:
        without |= {Kind.LOSE_DISK, Kind.CUT_FROM_BROKERS, Kind.CUT_TO_BROKERS, Kind.CUT_OF_BROKERS}
    if not victims.hosts:
        without |= set(NETWORK_KINDS)
    if not victims.members:
        without.add(Kind.CUT_FROM_STORE)
    if victims.members_to_spare == 0:
        without |= set(STORE_KINDS)
    if not victims.clients:
        without |= set(CLIENT_KINDS)
    return [kind for kind in allowed if kind not in without]


def draw_blow(chance: random.Random, victims: Victims, allowed: Sequence[Kind] = tuple(Kind)) -> list[Fault]:
    """One fault mostly, else two or three, at once or shortly after one another.

    A broker may be cut off and then be killed or paused, which is what finds records that only it had; but no process
    and no link of a process is struck twice.
    """
    kinds = kinds_for(victims, allowed)
    weights = [_WEIGHTS.get(kind, 2) for kind in kinds]
    drawn: list[Fault] = []
    processes: set[str] = set()
    links: set[str] = set()
    spare = victims.members_to_spare
    for _ in range(chance.choices((1, 2, 3), (6, 3, 1))[0]):
        (kind,) = chance.choices(kinds, weights)
        if kind in STORE_KINDS and not spare:
            continue
        if kind is Kind.LOSE_DISK and any(fault.kind is Kind.LOSE_DISK for fault in drawn):
            continue
        struck = links if kind in NETWORK_KINDS or kind is Kind.CUT_MEMBER else processes
        delay_s = chance.choice((0.0, chance.uniform(0.5, _DELAY_S_MAX))) if drawn else 0.0
        fault = Fault(kind, _targets(chance, kind, victims, struck), _hold_s(chance, kind), delay_s)
        if fault.targets:
            drawn.append(fault)
            struck.update(fault.targets)
            spare -= len(fault.targets) if kind in STORE_KINDS else 0
    return drawn


def _targets(chance: random.Random, kind: Kind, victims: Victims, struck: set[str]) -> tuple[str, ...]:
    everybody = victims.brokers
    if kind in STORE_KINDS:
        everybody = victims.members
    elif kind in CLIENT_KINDS:
        everybody = victims.clients
    free = [name for name in everybody if name not in struck]
    count = 1
    if kind in (Kind.KILL, Kind.PAUSE):
        count = chance.choices((1, 2, len(everybody)), (8, 1, 1))[0]
    return tuple(sorted(chance.sample(free, min(count, len(free)))))


def _hold_s(chance: random.Random, kind: Kind) -> float:
    if kind in (Kind.PAUSE, Kind.PAUSE_MEMBER, Kind.PAUSE_CLIENT):
        return chance.uniform(*_PAUSE_S)
    if kind in NETWORK_KINDS or kind is Kind.CUT_MEMBER:
        return chance.uniform(*_CUT_S)
    return chance.choice((0.0, chance.uniform(0.0, 2.0), chance.uniform(0.0, _DOWN_S_MAX)))


def blows(
    chance: random.Random, victims: Victims, allowed: Sequence[Kind] = tuple(Kind)
) -> Iterator[tuple[float, list[Fault]]]:
    """For ever: seconds of quiet, then a blow."""
    while True:
        yield (
            chance.choice((chance.uniform(0.0, 3.0), chance.uniform(3.0, 10.0))),
            draw_blow(chance, victims, allowed),
        )
