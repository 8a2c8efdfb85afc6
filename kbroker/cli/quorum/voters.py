"""What a node's settings say of the metadata quorum: who its voters are, and what this node has to do with it.

Keys and rules are Kafka's (``QuorumConfig``, ``KafkaConfig.validateValues``): ``process.roles``,
``controller.quorum.voters``, ``controller.quorum.bootstrap.servers``, ``controller.listener.names``. Whoever names a
metadata store (``kbroker.metadata.store``, ``kbroker.etcd.endpoints``) has made other arrangements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from kbroker.config.definition import ConfigError
from kbroker.config.listeners import Endpoint, parse_listeners, parse_protocol_map

PEER_PORT_VARIABLE = "KBROKER_QUORUM_PEER_PORT"
PEER_PORT = 2380
QUORUM_DIRECTORY = "kbroker-quorum"

_ROLES = "process.roles"
_VOTERS = "controller.quorum.voters"
_BOOTSTRAP_SERVERS = "controller.quorum.bootstrap.servers"
_LISTENER_NAMES = "controller.listener.names"
_PROTOCOL_MAP = "listener.security.protocol.map"
_PORT_MAX = 65_535

SETTINGS_ACTED_ON = frozenset({_ROLES, _VOTERS, _BOOTSTRAP_SERVERS})
"""Keys that matter where there is a quorum, and nowhere else."""

_VOTER = re.compile(
    r"(?P<id>[0-9]+)@(?:\[(?P<ipv6>[0-9a-fA-F:.%]+)\]|(?P<host>[^:\[\]@]+)):(?P<port>[0-9]{1,5})"
)
_SERVER = re.compile(r"(?:\[[0-9a-fA-F:.%]+\]|[^:\[\]@]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, order=True)
class Voter:
    """One controller: its node id, and where others reach it. ``host`` is without brackets."""

    node_id: int
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.node_id}@{_authority(self.host, self.port)}"

    @property
    def client_address(self) -> str:
        """Where brokers reach the voter's etcd member."""
        return http_address(self.host, self.port)

    def peer_address(self, peer_port: int) -> str:
        """Where other members do."""
        return http_address(self.host, peer_port)


@dataclass(frozen=True, slots=True)
class VoterSettings:
    """What a voter needs beside the others' addresses. ``listen_host`` is empty for every address."""

    node_id: int
    cluster_id: str
    voters: tuple[Voter, ...]
    peer_port: int
    listen_host: str
    listen_port: int
    directory: str

    @property
    def me(self) -> Voter:
        return next(voter for voter in self.voters if voter.node_id == self.node_id)

    @property
    def others(self) -> tuple[Voter, ...]:
        return tuple(voter for voter in self.voters if voter.node_id != self.node_id)

    @property
    def voters_text(self) -> str:
        """The same text at each voter that means the same quorum."""
        return ",".join(map(str, self.voters))


@dataclass(frozen=True, slots=True)
class QuorumPart:
    """This node's part. ``voter`` is None where it only uses the quorum."""

    is_broker: bool
    voter: VoterSettings | None
    endpoints: tuple[str, ...]
    """Where the node's broker finds etcd, its own member first."""


def quorum_part(settings: Mapping[str, str], environment: Mapping[str, str]) -> QuorumPart | None:
    """What ``settings``, by Kafka's keys, ask for; None where the broker keeps its metadata by itself or elsewhere.

    ConfigError where they make no sense together.
    """
    roles = _items(settings.get(_ROLES, "broker,controller"))
    voters = _voters(settings.get(_VOTERS, ""))
    is_broker, is_controller = "broker" in roles, "controller" in roles
    if _is_arranged_elsewhere(settings):
        if not is_broker:
            raise ConfigError(
                _ROLES,
                ",".join(roles),
                "with a metadata store of your own there is nothing for a controller to do",
            )
        return None
    if not is_controller:
        return _broker_part(settings, voters)
    if not voters:
        # A combined node without voters is a cluster of its own, unless it says that there are more.
        if not is_broker or len(_bootstrap_servers(settings)) > 1:
            raise ConfigError(_VOTERS, settings.get(_VOTERS), "expected all controllers as id@host:port,...")
        return None
    node_id = _node_id(settings)
    if node_id not in {voter.node_id for voter in voters}:
        raise ConfigError(
            _VOTERS, settings[_VOTERS], f"expected this controller, node.id {node_id}, among them"
        )
    if is_broker and len(voters) == 1 and "kbroker.metadata.store" not in settings:
        return None
    voter = _voter_settings(settings, environment, node_id, voters)
    own = http_address(reachable(voter.listen_host), voter.listen_port)
    return QuorumPart(is_broker, voter, (own, *(other.client_address for other in voter.others)))


def http_address(host: str, port: int) -> str:
    return f"http://{_authority(host, port)}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_arranged_elsewhere(settings: Mapping[str, str]) -> bool:
    """An etcd without endpoints is the one of the quorum, where there are voters."""
    store = settings.get("kbroker.metadata.store")
    if store == "etcd" and settings.get(_VOTERS):
        return "kbroker.etcd.endpoints" in settings
    return store is not None


def _broker_part(settings: Mapping[str, str], voters: tuple[Voter, ...]) -> QuorumPart | None:
    if voters:
        node_id = _node_id(settings)
        if node_id in {voter.node_id for voter in voters}:
            raise ConfigError(
                _VOTERS,
                settings[_VOTERS],
                f"expected no node.id of a broker that is no controller, as {node_id} is",
            )
        return QuorumPart(True, None, tuple(voter.client_address for voter in voters))
    servers = _bootstrap_servers(settings)
    return QuorumPart(True, None, tuple(f"http://{server}" for server in servers)) if servers else None


def _voter_settings(
    settings: Mapping[str, str], environment: Mapping[str, str], node_id: int, voters: tuple[Voter, ...]
) -> VoterSettings:
    port = next(voter.port for voter in voters if voter.node_id == node_id)
    listener = _controller_listener(settings) or Endpoint("CONTROLLER", "PLAINTEXT", "", port)
    if len({voter.host for voter in voters}) < len(voters):
        raise ConfigError(
            _VOTERS, settings[_VOTERS], "expected voters on hosts of their own: their peers' port is the same"
        )
    peer_port = _peer_port(environment)
    if peer_port == listener.port:
        raise ConfigError(
            PEER_PORT_VARIABLE, str(peer_port), "expected another port than the controller listener's"
        )
    directories = _items(
        settings.get("metadata.log.dir") or settings.get("log.dirs") or settings.get("log.dir", "")
    )
    if not directories:
        raise ConfigError("log.dirs", None, "expected a directory for the metadata")
    return VoterSettings(
        node_id=node_id,
        cluster_id=settings.get("kbroker.cluster.id", ""),
        voters=voters,
        peer_port=peer_port,
        listen_host=listener.host,
        listen_port=listener.port,
        directory=f"{directories[0].rstrip('/')}/{QUORUM_DIRECTORY}",
    )


def _controller_listener(settings: Mapping[str, str]) -> Endpoint | None:
    """The first listener that is a controller's; None where only brokers' are named."""
    names = [name.upper() for name in _items(settings.get(_LISTENER_NAMES, ""))]
    if not names:
        raise ConfigError(_LISTENER_NAMES, None, "expected the name of the controllers' listener")
    protocols = {**dict.fromkeys(names, "PLAINTEXT"), **parse_protocol_map(settings.get(_PROTOCOL_MAP, ""))}
    for name in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):  # Kafka's default map
        protocols.setdefault(name, name)
    listeners = parse_listeners("listeners", _items(settings.get("listeners", "")), protocols)
    found = next((listener for listener in listeners if listener.listener_name in names), None)
    if found is not None and found.security_protocol != "PLAINTEXT":
        raise ConfigError(
            _PROTOCOL_MAP,
            f"{found.listener_name}:{found.security_protocol}",
            "kbroker's controllers speak PLAINTEXT only; for TLS use an etcd of your own (docs/CLUSTER.md)",
        )
    return found


def _voters(text: str) -> tuple[Voter, ...]:
    """In the order of their ids, so that the order in which they are named does not matter."""
    voters: dict[int, Voter] = {}
    for item in _items(text):
        match = _VOTER.fullmatch(item)
        if match is None or not 0 < int(match["port"]) <= _PORT_MAX:
            raise ConfigError(_VOTERS, text, f"expected id@host:port, not {item}")
        node_id = int(match["id"])
        if node_id in voters:
            raise ConfigError(_VOTERS, text, f"node id {node_id} is named twice")
        voters[node_id] = Voter(node_id, match["ipv6"] or match["host"], int(match["port"]))
    return tuple(voters[node_id] for node_id in sorted(voters))


def _bootstrap_servers(settings: Mapping[str, str]) -> list[str]:
    text = settings.get(_BOOTSTRAP_SERVERS, "")
    servers = _items(text)
    for server in servers:
        if _SERVER.fullmatch(server) is None:
            raise ConfigError(_BOOTSTRAP_SERVERS, text, f"expected host:port, not {server}")
    return servers


def _node_id(settings: Mapping[str, str]) -> int:
    text = settings.get("node.id", settings.get("broker.id", "1"))
    if not re.fullmatch(r"[0-9]{1,10}", text.strip()):
        raise ConfigError("node.id", text, "expected a number from 0")
    return int(text)


def _peer_port(environment: Mapping[str, str]) -> int:
    text = environment.get(PEER_PORT_VARIABLE, str(PEER_PORT))
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= _PORT_MAX:
        raise ConfigError(PEER_PORT_VARIABLE, text, "expected a port")
    return int(text)


def reachable(listen_host: str) -> str:
    """An address of this machine at which a listener on ``listen_host`` is reached."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen_host, listen_host)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]
