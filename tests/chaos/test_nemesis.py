"""What is done is undone, on processes and hosts that only take notes."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.chaos.faults import CLIENT_KINDS, NETWORK_KINDS, STORE_KINDS, Fault, Kind
from tests.chaos.nemesis import Nemesis

CUTS = {
    Kind.CUT_FROM_BROKERS: {"1>2", "2>1", "1>3", "3>1"},
    Kind.CUT_TO_BROKERS: {"1>2", "1>3"},
    Kind.CUT_OF_BROKERS: {"2>1", "3>1"},
    Kind.CUT_FROM_STORE: {"1>11", "11>1", "1>12", "12>1", "1>13", "13>1"},
    Kind.CUT_FROM_CLIENTS: {"1>10.77.0.1"},
    Kind.CUT_MEMBER: {"11>12", "12>11", "11>13", "13>11"},
}
CUTS[Kind.CUT_FROM_ALL] = (
    CUTS[Kind.CUT_FROM_BROKERS] | CUTS[Kind.CUT_FROM_STORE] | CUTS[Kind.CUT_FROM_CLIENTS]
)


@dataclass
class FakeHost:
    address: str
    notes: list[str]
    cuts: Counter[str] = field(default_factory=Counter)
    slow: bool = False

    def drop_packets_to(self, address: str) -> None:
        self.cuts[address] += 1
        self.notes.append(f"{self.address}>{address}")

    def deliver_packets_to(self, address: str) -> None:
        self.cuts[address] -= 1

    def slow_down(self, **_: int) -> None:
        self.slow = True
        self.notes.append(f"{self.address} slow")

    def speed_up(self) -> None:
        self.slow = False


@dataclass
class FakeProcess:
    """Stands in for broker, member and client processes alike."""

    name: str
    host: FakeHost
    notes: list[str]
    running: bool = True
    stopped: bool = False
    ready_line: str | None = "ready"
    launched: float = 0.0

    @property
    def process(self) -> FakeProcess:
        return self

    def kill(self) -> None:
        self.running = False
        self.notes.append(f"{self.name} killed")

    def terminate(self, *, deadline_s: float) -> int:
        self.running = False
        self.notes.append(f"{self.name} terminated in {deadline_s:.0f}")
        return 0

    def signal(self, number: signal.Signals) -> None:
        self.stopped = number is signal.SIGSTOP
        self.notes.append(f"{self.name} {number.name}")

    def launch(self) -> None:
        assert not self.running
        self.running = True
        self.notes.append(f"{self.name} launched")

    def lose_disk(self) -> None:
        assert not self.running
        self.notes.append(f"{self.name} lost its disk")

    def wait(self) -> int:
        return 1

    def log_tail(self) -> str:
        return "the last lines"


class FakeCluster:
    def __init__(self, notes: list[str]) -> None:
        self.brokers = [FakeProcess(f"broker-{n}", FakeHost(str(n), notes), notes) for n in (1, 2, 3)]
        self.members = [FakeProcess(f"etcd-{n}", FakeHost(str(10 + n), notes), notes) for n in (1, 2, 3)]

    def broker(self, name: str) -> FakeProcess:
        return next(broker for broker in self.brokers if broker.name == name)

    def member(self, name: str) -> FakeProcess:
        return next(member for member in self.members if member.name == name)

    def launch_member(self, member: FakeProcess) -> None:
        member.launch()


class FakeWorkshop:
    def __init__(self, notes: list[str]) -> None:
        self.client = FakeProcess("client", FakeHost("clients", notes), notes)

    def kill(self, _name: str) -> None:
        self.client.kill()

    def start(self, _name: str) -> None:
        self.client.launch()

    def pause(self, _name: str) -> None:
        self.client.signal(signal.SIGSTOP)

    def resume(self, _name: str) -> None:
        self.client.signal(signal.SIGCONT)

    def restart_ended(self) -> None:
        pass


class Stage:
    def __init__(self, *, in_sync: bool = True) -> None:
        self.notes: list[str] = []
        self.cluster: Any = FakeCluster(self.notes)
        self.workshop: Any = FakeWorkshop(self.notes)
        self.nemesis = Nemesis(self.cluster, self.workshop, lambda: in_sync)

    def strike(self, *faults: Fault) -> None:
        self.nemesis.strike(list(faults), sleep=lambda _: None)

    @property
    def healed(self) -> bool:
        everybody = [*self.cluster.brokers, *self.cluster.members, self.workshop.client]
        return all(
            each.running and not each.stopped and not each.host.slow and not +each.host.cuts
            for each in everybody
        )


def target(kind: Kind) -> tuple[str, ...]:
    if kind in CLIENT_KINDS:
        return ("client",)
    return ("etcd-1",) if kind in STORE_KINDS else ("broker-1",)


@pytest.mark.parametrize("kind", list(Kind))
def test_everything_is_done_and_undone(kind: Kind) -> None:
    stage = Stage()
    stage.strike(Fault(kind, target(kind), 0.0))
    assert stage.notes
    assert stage.healed
    assert stage.nemesis.findings == []


@pytest.mark.parametrize(
    "kind", [kind for kind in (*NETWORK_KINDS, Kind.CUT_MEMBER) if kind is not Kind.SLOW]
)
def test_the_right_packets_are_dropped(kind: Kind) -> None:
    stage = Stage()
    stage.strike(Fault(kind, target(kind), 0.0))
    assert set(stage.notes) == CUTS[kind]


def test_cuts_that_overlap_are_undone_one_by_one() -> None:
    stage = Stage()
    stage.strike(
        Fault(Kind.CUT_FROM_ALL, ("broker-1",), 2.0), Fault(Kind.CUT_FROM_BROKERS, ("broker-2",), 1.0)
    )
    assert stage.healed


def test_what_is_held_longer_is_undone_later() -> None:
    stage = Stage()
    stage.strike(Fault(Kind.KILL, ("broker-1",), 2.0), Fault(Kind.KILL, ("broker-2",), 1.0))
    assert stage.notes == ["broker-1 killed", "broker-2 killed", "broker-2 launched", "broker-1 launched"]


def test_a_broker_is_cut_off_and_killed_before_it_is_connected_again() -> None:
    stage = Stage()
    stage.strike(
        Fault(Kind.CUT_TO_BROKERS, ("broker-1",), 5.0), Fault(Kind.KILL, ("broker-1",), 1.0, delay_s=2.0)
    )
    assert stage.notes == ["1>2", "1>3", "broker-1 killed", "broker-1 launched"]
    assert stage.healed


def test_a_disk_is_lost_only_while_every_replica_is_in_sync() -> None:
    stage = Stage()
    stage.strike(Fault(Kind.LOSE_DISK, ("broker-2",), 0.0))
    assert stage.notes == ["broker-2 killed", "broker-2 lost its disk", "broker-2 launched"]
    stage = Stage(in_sync=False)
    stage.strike(Fault(Kind.LOSE_DISK, ("broker-2",), 0.0))
    assert stage.notes == ["broker-2 killed", "broker-2 launched"]
    assert stage.nemesis.events[0].faults[0].kind is Kind.KILL


def test_a_broker_that_ends_by_itself_is_told_and_started_again() -> None:
    stage = Stage()
    stage.cluster.broker("broker-3").running = False
    stage.nemesis.look_after_processes()
    assert stage.nemesis.findings == ["broker-3 ended by itself with 1:\nthe last lines"]
    assert stage.healed


def test_a_broker_may_give_up_starting_without_etcd() -> None:
    stage = Stage()
    stage.strike(Fault(Kind.CUT_FROM_STORE, ("broker-3",), 0.0))
    broker = stage.cluster.broker("broker-3")
    broker.running, broker.ready_line = False, None
    stage.nemesis.look_after_processes()
    assert stage.nemesis.findings == [] and stage.healed
    broker.running, broker.launched = False, float("inf")
    stage.nemesis.look_after_processes()
    assert len(stage.nemesis.findings) == 1
