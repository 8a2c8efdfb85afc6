"""What a node's settings make of it, in a quorum or not."""

from __future__ import annotations

import pytest

from kbroker.cli.quorum.voters import PEER_PORT_VARIABLE, QuorumPart, Voter, VoterSettings, quorum_part
from kbroker.config.definition import ConfigError

THREE = "1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093"


def settings(**changes: str | None) -> dict[str, str]:
    """Those of one of three combined nodes, with changes; keys have underscores for dots."""
    entries = {
        "node.id": "2",
        "process.roles": "broker,controller",
        "controller.quorum.voters": THREE,
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://:19092,CONTROLLER://:9093,PLAINTEXT_HOST://:9092",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
        "kbroker.cluster.id": "the-cluster",
        "log.dirs": "/data/a,/data/b",
    }
    for name, value in changes.items():
        key = name.replace("_", ".")
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value
    return entries


def part_of(entries: dict[str, str], **environment: str) -> QuorumPart:
    part = quorum_part(entries, environment)
    assert part is not None
    return part


def voter_of(entries: dict[str, str], **environment: str) -> VoterSettings:
    voter = part_of(entries, **environment).voter
    assert voter is not None
    return voter


def test_a_combined_node_among_several_is_a_voter_and_a_broker() -> None:
    part = part_of(settings())
    assert part.is_broker
    assert part.endpoints == ("http://127.0.0.1:9093", "http://kafka-1:9093", "http://kafka-3:9093")
    voter = part.voter
    assert voter is not None
    assert (voter.node_id, voter.cluster_id, voter.peer_port) == (2, "the-cluster", 2380)
    assert (voter.listen_host, voter.listen_port) == ("", 9093)
    assert voter.directory == "/data/a/kbroker-quorum"
    assert voter.me == Voter(2, "kafka-2", 9093)
    assert voter.me.peer_address(voter.peer_port) == "http://kafka-2:2380"
    assert [other.node_id for other in voter.others] == [1, 3]


def test_a_controller_alone_is_a_voter_and_no_broker() -> None:
    part = part_of(settings(process_roles="controller", listeners="CONTROLLER://kafka-2:9093"))
    assert not part.is_broker
    assert part.voter is not None
    assert part.voter.listen_host == "kafka-2"


def test_a_single_controller_serves_brokers_elsewhere() -> None:
    alone = settings(process_roles="controller", controller_quorum_voters="2@c:9093")
    assert voter_of(alone).others == ()


def test_a_broker_uses_the_voters_or_what_it_is_told_to_begin_with() -> None:
    broker = settings(process_roles="broker", node_id="7", listeners="PLAINTEXT://:9092")
    part = part_of(broker)
    assert (part.is_broker, part.voter) == (True, None)
    assert part.endpoints == ("http://kafka-1:9093", "http://kafka-2:9093", "http://kafka-3:9093")
    told = {**broker, "controller.quorum.bootstrap.servers": "c-1:9093,[fd00::2]:9093"}
    del told["controller.quorum.voters"]
    assert part_of(told).endpoints == ("http://c-1:9093", "http://[fd00::2]:9093")


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param({}, id="nothing"),
        pytest.param(settings(controller_quorum_voters="2@localhost:9093"), id="itself alone"),
        pytest.param(settings(controller_quorum_voters=None), id="no voters"),
        pytest.param(
            settings(controller_quorum_voters=None, controller_quorum_bootstrap_servers="localhost:9093"),
            id="one server to begin with",
        ),
        pytest.param(settings(kbroker_metadata_store="embedded"), id="a store of its own"),
        pytest.param(
            settings(kbroker_metadata_store="etcd", kbroker_etcd_endpoints="http://etcd:2379"),
            id="another etcd",
        ),
        pytest.param(
            settings(process_roles="broker", node_id="7", controller_quorum_voters=None),
            id="a broker by itself",
        ),
    ],
)
def test_others_have_no_part_in_a_quorum(entries: dict[str, str]) -> None:
    assert quorum_part(entries, {}) is None


def test_a_node_alone_gets_a_quorum_that_others_can_use_if_it_asks_for_etcd() -> None:
    entries = settings(controller_quorum_voters="2@kafka-2:9093", kbroker_metadata_store="etcd")
    assert part_of(entries).endpoints == ("http://127.0.0.1:9093",)


def test_the_order_in_which_voters_are_named_does_not_matter() -> None:
    turned = settings(controller_quorum_voters="3@kafka-3:9093, 1@kafka-1:9093,2@kafka-2:9093")
    assert voter_of(turned).voters_text == voter_of(settings()).voters_text == THREE


def test_the_peers_port_and_the_metadatas_own_directory_can_be_named() -> None:
    voter = voter_of(settings(metadata_log_dir="/metadata/"), **{PEER_PORT_VARIABLE: "12380"})
    assert (voter.peer_port, voter.directory) == (12380, "/metadata/kbroker-quorum")


def test_the_controllers_listener_need_not_be_named_among_the_others() -> None:
    assert voter_of(settings(listeners="PLAINTEXT://:9092")).listen_port == 9093


@pytest.mark.parametrize(
    ("entries", "environment", "told"),
    [
        (settings(node_id="4"), {}, "expected this controller, node.id 4"),
        (settings(process_roles="broker"), {}, "expected no node.id of a broker"),
        (settings(process_roles="controller", controller_quorum_voters=None), {}, "expected all controllers"),
        (
            settings(controller_quorum_voters=None, controller_quorum_bootstrap_servers="a:1,b:1"),
            {},
            "expected all controllers",
        ),
        (settings(controller_quorum_voters="1@kafka-1"), {}, "expected id@host:port"),
        (settings(controller_quorum_voters="2@kafka-1:0"), {}, "expected id@host:port"),
        (settings(controller_quorum_voters="2@a:1,2@b:1"), {}, "named twice"),
        (settings(controller_quorum_voters="1@a:1,2@a:2"), {}, "hosts of their own"),
        (settings(controller_listener_names=None), {}, "configuration controller.listener.names"),
        (settings(listener_security_protocol_map="CONTROLLER:SSL,PLAINTEXT_HOST:PLAINTEXT"), {}, "PLAINTEXT only"),
        (settings(process_roles="controller", kbroker_metadata_store="embedded"), {}, "nothing for a controller"),
        (settings(), {PEER_PORT_VARIABLE: "9093"}, "another port"),
        (settings(), {PEER_PORT_VARIABLE: "many"}, "expected a port"),
        (settings(node_id="two"), {}, "expected a number"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(
    entries: dict[str, str], environment: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        quorum_part(entries, environment)
