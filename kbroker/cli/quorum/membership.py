"""Taking the place of a member whose disk is lost, with the consent of those that have theirs (``Step.JOIN``).

A member is its identity, a number that etcd gives; its name and addresses may come again, the number does not. So the
old one is struck out and a new one is taken in, each a decision of the majority (etcd: runtime reconfiguration).

    died before          is found again as
    -----------------    -----------------------------------------------------------
    striking out         the old identity: strike it out
    taking in            none: take in
    etcd's first start   an identity that never started: strike it out, take in anew

etcd refuses both while members are missing that it would need, or have been there for less than five seconds: the
caller tries again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kbroker.cli.quorum.voters import VoterSettings
from kbroker.metadata.embedded import RunBlocking
from kbroker.metadata.store import StoreError


class ForeignCluster(Exception):
    """The etcd that answers has members that are none of the voters."""


async def take_place(settings: VoterSettings, run_blocking: RunBlocking) -> dict[int, str]:
    """Have the members count on this voter anew: the members by node id, with their peer addresses.

    StoreError if they cannot or do not; ForeignCluster.
    """
    # Imported here: a voter that has its disk starts without the time that httpx takes.
    from kbroker.metadata.etcd_gateway import EtcdGateway, EtcdSettings, http_transport

    etcd = EtcdSettings(endpoints=[other.client_address for other in settings.others])
    gateway = EtcdGateway(etcd, transport=await run_blocking(http_transport, etcd))
    try:
        return await replace_member(settings, lambda path, body: gateway.call(path, body, repeatable=False))
    finally:
        await gateway.close()


Call = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Sends one request to etcd's gateway, a path and JSON, and gives the answer."""


async def replace_member(settings: VoterSettings, call: Call) -> dict[int, str]:
    """``take_place``, over ``call``."""
    mine = settings.me.peer_address(settings.peer_port)
    known = {voter.peer_address(settings.peer_port): voter.node_id for voter in settings.voters}
    for member in _members(await call("/v3/cluster/member/list", {}), known):
        if mine in member["peerURLs"]:
            await call("/v3/cluster/member/remove", {"ID": member["ID"]})
    members = _members(await call("/v3/cluster/member/add", {"peerURLs": [mine]}), known)
    return {known[address]: address for member in members for address in member["peerURLs"]}


def _members(answer: Mapping[str, Any], known: dict[str, int]) -> list[dict[str, Any]]:
    members = answer.get("members")
    if not isinstance(members, list):
        raise StoreError("etcd names no members")
    strangers = {address for member in members for address in member.get("peerURLs", ())} - known.keys()
    if strangers:
        raise ForeignCluster(f"an etcd of other members answers: {', '.join(sorted(strangers))}")
    return members
