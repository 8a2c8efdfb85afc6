"""etcd as processes of its own: one member or several on free loopback ports, killed, paused and resumed by pid.

Nothing is synced to the disk: what a cluster loses when the machine dies is not what is tested here.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.broker_process import die_with_parent, free_port

MISSING = None if shutil.which("etcd") and shutil.which("etcdctl") else "etcd and etcdctl are not installed"
"""Why tests with a real etcd are skipped; None where they can run."""

START_DEADLINE_S = 60.0
_POLL_S = 0.05


@dataclass(frozen=True)
class EtcdFiles:
    """PEM files for TLS: an authority, and a certificate with key that members and clients alike may use."""

    ca: Path
    certificate: Path
    key: Path


class EtcdMember:
    """One process; ports and directory stay the same over restarts."""

    def __init__(self, name: str, directory: Path, ports: Sequence[int], tls: EtcdFiles | None) -> None:
        self.name = name
        self._directory = directory
        self._tls = tls
        client_port, peer_port, health_port = ports
        self.endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{client_port}"
        self.peer_address = f"http://127.0.0.1:{peer_port}"
        self._health_address = f"http://127.0.0.1:{health_port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return (self._directory / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")

    def launch(self, initial_cluster: str, arguments: Sequence[str]) -> None:
        line = [
            *("etcd", "--name", self.name, "--data-dir", str(self._directory / self.name)),
            *("--listen-client-urls", self.endpoint, "--advertise-client-urls", self.endpoint),
            *("--listen-peer-urls", self.peer_address, "--initial-advertise-peer-urls", self.peer_address),
            *("--listen-metrics-urls", self._health_address, "--initial-cluster", initial_cluster),
            *("--unsafe-no-fsync", "--logger", "zap", "--log-level", "error", *arguments),
        ]
        if self._tls is not None:
            line += ["--cert-file", str(self._tls.certificate), "--key-file", str(self._tls.key)]
            line += ["--trusted-ca-file", str(self._tls.ca), "--client-cert-auth"]
        with (self._directory / f"{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*die_with_parent(), *line], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def is_healthy(self) -> bool:
        """Whether it serves and knows a leader."""
        assert self._process is not None
        assert self._process.poll() is None, f"{self.name} ended by itself:\n{self.log}"
        try:
            with urllib.request.urlopen(f"{self._health_address}/health", timeout=2) as answer:
                return json.load(answer).get("health") == "true"
        except (OSError, ValueError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class EtcdCluster:
    """The members of one etcd. Commands go through ``etcdctl``."""

    def __init__(
        self,
        directory: Path,
        *,
        members: int = 1,
        tls: EtcdFiles | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        ports = _free_ports(3 * members)
        self.members = [
            EtcdMember(f"member{number}", directory, ports[3 * number : 3 * number + 3], tls)
            for number in range(members)
        ]
        self._tls = tls
        self._arguments = tuple(arguments)

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        for member in self.members:
            self.launch(member)
        self.wait_until_healthy(self.members)

    def launch(self, member: EtcdMember) -> None:
        """Start one member, again if need be, without waiting for it."""
        everyone = ",".join(f"{each.name}={each.peer_address}" for each in self.members)
        member.launch(everyone, self._arguments)

    def wait_until_healthy(self, members: Sequence[EtcdMember]) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not all(member.is_healthy() for member in members):
            assert time.monotonic() < deadline, "\n".join(member.log for member in members)
            time.sleep(_POLL_S)

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    def etcdctl(self, *arguments: str) -> str:
        """Run one command; its output."""
        line = ["etcdctl", "--endpoints", ",".join(self.endpoints)]
        if self._tls is not None:
            line += ["--cacert", str(self._tls.ca), "--cert", str(self._tls.certificate)]
            line += ["--key", str(self._tls.key)]
        done = subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def leader(self) -> EtcdMember:
        statuses = json.loads(self.etcdctl("endpoint", "status", "--write-out", "json"))
        leading = {
            status["Endpoint"]
            for status in statuses
            if status["Status"]["leader"] == status["Status"]["header"]["member_id"]
        }
        return next(member for member in self.members if member.endpoint in leading)

    def compact(self, revision: int) -> None:
        self.etcdctl("compact", str(revision))


@contextlib.contextmanager
def running_etcd(
    directory: Path, *, members: int = 1, tls: EtcdFiles | None = None, arguments: Sequence[str] = ()
) -> Iterator[EtcdCluster]:
    """A healthy etcd that lives as long as the block."""
    directory.mkdir(parents=True, exist_ok=True)
    cluster = EtcdCluster(directory, members=members, tls=tls, arguments=arguments)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def make_certificates(directory: Path) -> EtcdFiles:
    """A new authority and a certificate of it for 127.0.0.1, by the openssl command."""
    directory.mkdir(parents=True, exist_ok=True)
    files = EtcdFiles(directory / "ca.pem", directory / "etcd.pem", directory / "etcd.key")
    ca_key, request, extensions = directory / "ca.key", directory / "etcd.csr", directory / "extensions"
    # The gateway inside etcd is a client of its own member, hence clientAuth.
    extensions.write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        *("req", "-x509", *new_key, "-keyout", ca_key, "-out", files.ca, "-days", "2"),
        *("-subj", "/CN=authority of a test"),
    )
    _openssl("req", *new_key, "-keyout", files.key, "-out", request, "-subj", "/CN=etcd")
    _openssl(
        *("x509", "-req", "-in", request, "-CA", files.ca, "-CAkey", ca_key, "-CAcreateserial"),
        *("-out", files.certificate, "-days", "2", "-extfile", extensions),
    )
    return files


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)
