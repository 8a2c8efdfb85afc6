"""Taking a lost member's place, against an etcd of a few lines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from kbroker.cli.quorum.membership import ForeignCluster, replace_member
from kbroker.cli.quorum.voters import Voter, VoterSettings
from kbroker.metadata.store import StoreError, StoreUnavailableError

VOTERS = tuple(Voter(number, f"kafka-{number}", 9093) for number in (1, 2, 3))
SETTINGS = VoterSettings(3, "here", VOTERS, 2380, "", 9093, "/nowhere")
EVERYBODY = {number: f"http://kafka-{number}:2380" for number in (1, 2, 3)}


class Etcd:
    """Its members' addresses by their identities; ``fails_at`` is the call that is refused."""

    def __init__(self, *addresses: str, fails_at: str | None = None) -> None:
        self._identities = itertools.count(10)
        self.members = {str(next(self._identities)): address for address in addresses}
        self.fails_at = fails_at

    async def call(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        action = path.rpartition("/")[2]
        if action == self.fails_at:
            raise StoreUnavailableError("unhealthy cluster")
        if action == "remove":
            del self.members[body["ID"]]
        elif action == "add":
            (address,) = body["peerURLs"]
            assert address not in self.members.values(), "etcd refuses an address twice"
            self.members[str(next(self._identities))] = address
        return {
            "members": [{"ID": identity, "peerURLs": [address]} for identity, address in self.members.items()]
        }


async def test_the_old_identity_goes_and_a_new_one_comes() -> None:
    etcd = Etcd(*EVERYBODY.values())
    assert await replace_member(SETTINGS, etcd.call) == EVERYBODY
    assert etcd.members == {"10": EVERYBODY[1], "11": EVERYBODY[2], "13": EVERYBODY[3]}


@pytest.mark.parametrize("fails_at", ["list", "remove", "add"])
async def test_it_goes_on_where_it_was_refused(fails_at: str) -> None:
    etcd = Etcd(*EVERYBODY.values(), fails_at=fails_at)
    with pytest.raises(StoreError):
        await replace_member(SETTINGS, etcd.call)
    etcd.fails_at = None
    assert await replace_member(SETTINGS, etcd.call) == EVERYBODY
    assert sorted(etcd.members.values()) == sorted(EVERYBODY.values())


async def test_an_etcd_of_others_is_left_alone() -> None:
    etcd = Etcd(EVERYBODY[1], "http://elsewhere:2380", EVERYBODY[3])
    before = dict(etcd.members)
    with pytest.raises(ForeignCluster, match="elsewhere"):
        await replace_member(SETTINGS, etcd.call)
    assert etcd.members == before


async def test_what_names_no_members_is_no_etcd() -> None:
    async def call(path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    with pytest.raises(StoreError, match="no members"):
        await replace_member(SETTINGS, call)
