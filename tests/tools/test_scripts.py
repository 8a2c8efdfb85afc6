"""The console scripts: each finds its command, and importing it brings nothing along that it does not need."""

from __future__ import annotations

import gc
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from importlib import import_module

import pytest

from kbroker.tools import scripts
from tests.broker_process import REPOSITORY

DECLARED = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
KAFKAS = sorted(name for name in DECLARED if name.startswith("kafka-"))
HEAVY = ("asyncio", "construct", "email", "httpx", "importlib.metadata", "re2", "sqlite3", "unittest")
"""Modules that take a while to import, and that commands which only ask brokers must do without."""


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("name", KAFKAS)
def test_every_script_names_a_command(name: str) -> None:
    module, _, attribute = DECLARED[name].partition(":")
    assert (module, attribute) == ("kbroker.tools.scripts", name.replace("-", "_"))
    script = getattr(scripts, attribute)
    assert isinstance(script, partial)
    assert script.func is scripts.run
    (command,) = script.args
    assert callable(import_module(command).main)


def test_a_script_leaves_with_its_commands_code() -> None:
    for words, code in (["--help"], 1), (["--version"], 0):
        ended = subprocess.run(
            [sys.executable, "-c", "from kbroker.tools.scripts import kafka_topics; kafka_topics()", *words],
            cwd=REPOSITORY,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == code, ended


@pytest.mark.usefixtures("collector")
def test_an_interrupt_in_the_middle_of_an_import_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts, "import_module", interrupted)
    with pytest.raises(SystemExit) as ended:
        scripts.kafka_topics()
    assert ended.value.code == 130


@pytest.mark.usefixtures("collector")
def test_the_collector_is_at_work_again_once_everything_is_imported() -> None:
    gc.disable()
    assert scripts.imported("kbroker.tools.topics", "parse") is import_module("kbroker.tools.topics").parse
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize(
    "module",
    [
        "kbroker.tools.topics",
        "kbroker.tools.consumer_groups",
        "kbroker.prompt.topics",
        "kbroker.prompt.groups",
    ],
)
def test_commands_that_ask_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert not {name for name in HEAVY if name in ended.stdout.splitlines()}


def test_help_imports_nothing_that_only_work_needs() -> None:
    code = "import sys; from kbroker.cli.command import main\ntry: main(['topics', '--help'])\n"
    code += "finally: print(*sys.modules, sep='\\n', file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True
    )
    assert not {"trio", *HEAVY} & set(ended.stderr.splitlines())
