"""Does what was drawn to the cluster, undoes it, and keeps the time of both."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from tests.chaos.cluster import Broker, Cluster
from tests.chaos.faults import Fault, Kind, Victims
from tests.chaos.network import CLIENTS_ADDRESS, Host
from tests.chaos.workshop import Workshop

_SLOW = {"kilobits_per_second": 1_500, "wait_ms_max": 400}
_END_DEADLINE_S = 60.0
_DOWN = (Kind.KILL, Kind.TERMINATE, Kind.LOSE_DISK)


@dataclass(slots=True)
class Event:
    """A blow: what was done, and from when to when, in seconds of the monotonic clock."""

    faults: list[Fault]
    began: float
    undone: float | None = None

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))


@dataclass
class Nemesis:
    """all_in_sync: whether every replica of every partition is in sync, as far as the cluster says."""

    cluster: Cluster
    workshop: Workshop
    all_in_sync: Callable[[], bool]
    events: list[Event] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def victims(self) -> Victims:
        return Victims(
            brokers=tuple(broker.name for broker in self.cluster.brokers),
            members=tuple(member.name for member in self.cluster.members),
            clients=self.workshop.names,
            hosts=self.cluster.shape.store == "etcd",
        )

    def strike(self, faults: list[Fault], sleep: Callable[[float], None] = time.sleep) -> Event:
        """Do each of ``faults`` after its delay, and undo it when its time has come."""
        faults = [self._possible(fault) for fault in faults]
        event = Event(faults, time.monotonic())
        self.events.append(event)
        steps = [(fault.delay_s, self._do, fault) for fault in faults]
        steps += [(fault.delay_s + fault.hold_s, self._undo, fault) for fault in faults]
        # Sorting is stable: what is held for no time is done before it is undone.
        for after_s, step, fault in sorted(steps, key=lambda each: each[0]):
            sleep(max(0.0, event.began + after_s - time.monotonic()))
            step(fault)
            self.look_after_processes()
        event.undone = time.monotonic()
        return event

    def _possible(self, fault: Fault) -> Fault:
        """No second disk is lost before the first one's replicas are back."""
        if fault.kind is Kind.LOSE_DISK and not self.all_in_sync():
            return replace(fault, kind=Kind.KILL)
        return fault

    def _do(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.KILL | Kind.LOSE_DISK:
                for broker in self._brokers(fault):
                    broker.process.kill()
            case Kind.TERMINATE:
                for broker in self._brokers(fault):
                    self._terminate(broker)
            case Kind.PAUSE:
                for broker in self._brokers(fault):
                    broker.process.signal(signal.SIGSTOP)
            case Kind.SLOW:
                for broker in self._brokers(fault):
                    broker.host.slow_down(**_SLOW)
            case Kind.KILL_MEMBER:
                for name in fault.targets:
                    self.cluster.member(name).kill()
            case Kind.PAUSE_MEMBER:
                for name in fault.targets:
                    self.cluster.member(name).signal(signal.SIGSTOP)
            case Kind.KILL_CLIENT:
                for name in fault.targets:
                    self.workshop.kill(name)
            case Kind.PAUSE_CLIENT:
                for name in fault.targets:
                    self.workshop.pause(name)
            case _:
                for source, address in self._cuts(fault):
                    source.drop_packets_to(address)

    def _undo(self, fault: Fault) -> None:
        match fault.kind:
            case Kind.KILL | Kind.TERMINATE | Kind.LOSE_DISK:
                for broker in self._brokers(fault):
                    if fault.kind is Kind.LOSE_DISK:
                        broker.lose_disk()
                    broker.launch()
            case Kind.PAUSE:
                for broker in self._brokers(fault):
                    broker.process.signal(signal.SIGCONT)
            case Kind.SLOW:
                for broker in self._brokers(fault):
                    broker.host.speed_up()
            case Kind.KILL_MEMBER:
                for name in fault.targets:
                    self.cluster.launch_member(self.cluster.member(name))
            case Kind.PAUSE_MEMBER:
                for name in fault.targets:
                    self.cluster.member(name).signal(signal.SIGCONT)
            case Kind.KILL_CLIENT:
                for name in fault.targets:
                    self.workshop.start(name)
            case Kind.PAUSE_CLIENT:
                for name in fault.targets:
                    self.workshop.resume(name)
            case _:
                for source, address in self._cuts(fault):
                    source.deliver_packets_to(address)

    def _terminate(self, broker: Broker) -> None:
        try:
            code = broker.process.terminate(deadline_s=_END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.findings.append(
                f"{broker.name} did not end {_END_DEADLINE_S:.0f} s after SIGTERM:\n{broker.log_tail()}"
            )
            broker.process.kill()
            return
        if code != 0:
            self.findings.append(f"{broker.name} ended with {code} after SIGTERM:\n{broker.log_tail()}")

    def look_after_processes(self) -> None:
        """What ended by itself is told and started again, as a service manager would."""
        going_on = [event for event in self.events if event.undone is None]
        down = {
            name
            for event in going_on
            for fault in event.faults
            if fault.kind in _DOWN
            for name in fault.targets
        }
        for broker in self.cluster.brokers:
            if broker.name not in down and not broker.process.running:
                code = broker.process.wait()
                if not self._could_not_start(broker):
                    self.findings.append(f"{broker.name} ended by itself with {code}:\n{broker.log_tail()}")
                broker.launch()
        self.workshop.restart_ended()

    def _could_not_start(self, broker: Broker) -> bool:
        """Whether it never was ready in this life, and etcd was out of its reach: then it may give up."""
        return broker.process.ready_line is None and any(
            fault.kind in (Kind.CUT_FROM_STORE, Kind.CUT_FROM_ALL) and broker.name in fault.targets
            for event in self.events
            if event.undone is None or event.undone > broker.launched
            for fault in event.faults
        )

    def _brokers(self, fault: Fault) -> Iterable[Broker]:
        return [self.cluster.broker(name) for name in fault.targets]

    def _cuts(self, fault: Fault) -> Iterable[tuple[Host, str]]:
        """Who is not to reach which address."""
        for name in fault.targets:
            if fault.kind is Kind.CUT_MEMBER:
                host = self.cluster.member(name).host
                yield from _both_ways(host, self._others(host, [each.host for each in self.cluster.members]))
                continue
            host = self.cluster.broker(name).host
            brokers = self._others(host, [each.host for each in self.cluster.brokers])
            members = [each.host for each in self.cluster.members]
            match fault.kind:
                case Kind.CUT_FROM_BROKERS:
                    yield from _both_ways(host, brokers)
                case Kind.CUT_TO_BROKERS:
                    yield from ((host, other.address) for other in brokers)
                case Kind.CUT_OF_BROKERS:
                    yield from ((other, host.address) for other in brokers)
                case Kind.CUT_FROM_STORE:
                    yield from _both_ways(host, members)
                case Kind.CUT_FROM_CLIENTS:
                    yield host, CLIENTS_ADDRESS
                case Kind.CUT_FROM_ALL:
                    yield from _both_ways(host, [*brokers, *members])
                    yield host, CLIENTS_ADDRESS
                case _:
                    raise AssertionError(f"{fault.kind} cuts nothing")

    @staticmethod
    def _others(host: Host, hosts: Iterable[Host]) -> list[Host]:
        return [other for other in hosts if other is not host]


def _both_ways(host: Host, others: Iterable[Host]) -> Iterable[tuple[Host, str]]:
    for other in others:
        yield host, other.address
        yield other, host.address
