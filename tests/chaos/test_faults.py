"""What is drawn, and what is never drawn."""

from __future__ import annotations

import random
from itertools import islice

from tests.chaos.faults import (
    CLIENT_KINDS,
    NETWORK_KINDS,
    STORE_KINDS,
    Fault,
    Kind,
    Victims,
    blows,
    draw_blow,
    kinds_for,
)

THREE = Victims(
    brokers=("broker-1", "broker-2", "broker-3"),
    members=("etcd-1", "etcd-2", "etcd-3"),
    clients=("producer", "reader"),
)
ONE_PROCESS = Victims(brokers=("brokers",), members=(), clients=("producer",), hosts=False)


def many(victims: Victims = THREE, count: int = 2_000) -> list[list[Fault]]:
    chance = random.Random(7)
    return [draw_blow(chance, victims) for _ in range(count)]


def test_a_seed_draws_the_same_again() -> None:
    def first() -> list[tuple[float, list[Fault]]]:
        return list(islice(blows(random.Random(3), THREE), 50))

    assert first() == first()


def test_everything_is_drawn_and_combined() -> None:
    drawn = many()
    assert {fault.kind for blow in drawn for fault in blow} == set(Kind)
    assert {len(blow) for blow in drawn} >= {1, 2, 3}
    assert any(len(fault.targets) == 3 for blow in drawn for fault in blow if fault.kind is Kind.KILL)


def test_etcd_keeps_a_majority() -> None:
    for blow in many():
        assert sum(len(fault.targets) for fault in blow if fault.kind in STORE_KINDS) <= 1


def test_no_process_and_no_link_is_struck_twice_but_one_may_be_cut_off_and_killed() -> None:
    links = (*NETWORK_KINDS, Kind.CUT_MEMBER)
    both = 0
    for blow in many():
        cut = [name for fault in blow if fault.kind in links for name in fault.targets]
        struck = [name for fault in blow if fault.kind not in links for name in fault.targets]
        assert len(cut) == len(set(cut))
        assert len(struck) == len(set(struck))
        assert all(0 <= fault.hold_s <= 20 and 0 <= fault.delay_s <= 4 for fault in blow)
        assert blow[0].delay_s == 0
        both += bool(set(cut) & set(struck))
    assert both > 20


def test_at_most_one_disk_is_lost_at_once() -> None:
    blows_with = [[fault for fault in blow if fault.kind is Kind.LOSE_DISK] for blow in many()]
    assert all(len(losses) <= 1 and all(len(loss.targets) == 1 for loss in losses) for losses in blows_with)


def test_one_process_for_all_brokers_has_no_links_and_no_second_disk() -> None:
    kinds = kinds_for(ONE_PROCESS)
    assert not {Kind.LOSE_DISK, *NETWORK_KINDS, *STORE_KINDS} & set(kinds)
    assert {Kind.KILL, Kind.TERMINATE, Kind.PAUSE, *CLIENT_KINDS} == set(kinds)
    assert {fault.kind for blow in many(ONE_PROCESS) for fault in blow} == set(kinds)


def test_a_single_member_of_etcd_is_spared() -> None:
    victims = Victims(brokers=THREE.brokers, members=("etcd-1",), clients=())
    assert not {*STORE_KINDS, *CLIENT_KINDS} & set(kinds_for(victims))
