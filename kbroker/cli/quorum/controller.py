"""A node that is a controller and no broker: a voter, and nothing else."""

from __future__ import annotations

import argparse
import signal
from dataclasses import dataclass

import trio

from kbroker.cli.quorum.beginning import QuorumFailed
from kbroker.cli.quorum.member import QuorumMember
from kbroker.cli.quorum.voters import VoterSettings
from kbroker.cli.serve import run_until_stopped, start_logging, stop_on_signal


@dataclass(frozen=True, slots=True)
class ControllerReady:
    """``str()`` is the line that says that the quorum can be used."""

    settings: VoterSettings

    def __str__(self) -> str:
        me = self.settings.me
        return f"kbroker ready controller={me.host}:{me.port} node.id={me.node_id} voters={self.settings.voters_text}"


def serve_controller(options: argparse.Namespace, member: QuorumMember) -> int:
    """Be a voter until told to stop; the exit codes of ``kbroker serve``."""
    start_logging(options)
    return run_until_stopped(_run, member)


async def _run(member: QuorumMember) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            starts = trio.CancelScope()

            def stop() -> None:
                starts.cancel()
                member.stop()

            nursery.start_soon(stop_on_signal, signals, stop, nursery.cancel_scope)
            with starts:
                await nursery.start(member.run)
            if not starts.cancel_called:
                print(ControllerReady(member.settings), flush=True)
                await member.wait_ended()
            nursery.cancel_scope.cancel()
    if member.failure is not None:
        raise QuorumFailed(member.failure)
