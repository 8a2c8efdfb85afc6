"""Hosts reach one another until they are told not to; run in a namespace of the test's own, as root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker_process import REPOSITORY
from tests.chaos import network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(network.missing() is not None, reason=str(network.missing())),
]

# Sends a datagram from one host to another and says whether it came.
PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from tests.chaos import network

if not network.in_own_namespace():
    network.enter_own_namespace(["-c", sys.argv[1], sys.argv[1]])

def inside(host, code, *arguments, **options):
    return subprocess.Popen([*host.prefix, sys.executable, "-c", code, *arguments], text=True, **options)

LISTEN = '''
import socket, sys
listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind((sys.argv[1], 9999))
listener.settimeout(float(sys.argv[2]))
print("listening", flush=True)
try:
    print("came", listener.recv(9).decode())
except TimeoutError:
    print("nothing")
'''
SAY = '''
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (sys.argv[1], 9999))
'''

def reaches(source, target, wait_s):
    listener = inside(target, LISTEN, target.address, str(wait_s), stdout=subprocess.PIPE)
    assert listener.stdout.readline() == "listening\\n"
    assert inside(source, SAY, target.address).wait() == 0
    return listener.communicate()[0] == "came x\\n"

with network.Network() as hosts:
    one, two, three = hosts.add("one", 11), hosts.add("two", 12), hosts.add("three", 13)
    print("pids", one.pid, two.pid, three.pid)
    assert reaches(one, two, 10) and reaches(two, one, 10) and reaches(one, three, 10)
    one.drop_packets_to(two.address)
    one.drop_packets_to(two.address)
    assert not reaches(one, two, 0.5) and reaches(two, one, 10) and reaches(one, three, 10)
    one.deliver_packets_to(two.address)
    assert not reaches(one, two, 0.5)
    one.deliver_packets_to(two.address)
    assert reaches(one, two, 10)
    one.slow_down(kilobits_per_second=1_000, wait_ms_max=400)
    assert reaches(one, two, 10)
    one.speed_up()
    one.speed_up()
    assert reaches(one, two, 10)
    if len(sys.argv) > 1:
        print("as it should be", flush=True)
"""


def test_packets_are_dropped_in_one_direction_and_delivered_again_and_nothing_is_left() -> None:
    before = own_links()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, PROGRAM],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "as it should be" in done.stdout, done.stdout + done.stderr
    assert own_links() == before
    _, *pids = done.stdout.splitlines()[0].split()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def own_links() -> str:
    return subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
