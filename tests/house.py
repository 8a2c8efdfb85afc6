"""House rules that no off-the-shelf linter knows; ``python -m tests.house`` names every breach.

* Nobody but the World touches clocks, sockets, files, randomness or threads (DESIGN: one World).
* storage and wire know nothing of trio.
* Modules stay below 900 lines.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kbroker", "wire", "storage")
MODULE_LINES_MAX = 900

FORBIDDEN_MODULES = {"time", "socket", "random", "threading", "select", "subprocess", "tempfile", "secrets"}
FORBIDDEN_CALLS = {
    "open",
    "uuid.uuid1",
    "uuid.uuid4",
    "os.urandom",
    "os.open",
    "datetime.now",
    "datetime.datetime.now",
    "trio.current_time",
    "trio.sleep",
    "trio.to_thread.run_sync",
}
# Who may: the World itself, the filesystem behind it, and commands at the edge of the process.
ALLOWED = {
    "kbroker/os_world.py": {
        "time",
        "socket",
        "random",
        "uuid.uuid4",
        "trio.current_time",
        "trio.sleep",
        "trio.to_thread.run_sync",
    },
    "storage/filesystem.py": {"os.open", "open"},
    "kbroker/tools/alone.py": {"socket", "threading"},
}
# Commands for people at a terminal: clients of a cluster, which nothing simulates.
AT_THE_EDGE = ("kbroker/tools/", "kbroker/prompt/")
ALLOWED_AT_THE_EDGE = {
    "time",
    "random",
    "os.open",
    "open",
    "uuid.uuid4",
    "datetime.now",
    "trio.current_time",
    "trio.sleep",
    "trio.to_thread.run_sync",
}
# The type alone is no source of randomness (the World hands the generator in), and a lock starts no thread.
TYPE_ONLY = {"random.Random", "threading.Lock"}
NO_TRIO = ("wire", "storage")


def breaches(path: Path) -> Iterator[str]:
    """One line for every breach in the module at ``path``."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > MODULE_LINES_MAX:
        yield f"{name}: {lines} lines, more than {MODULE_LINES_MAX}"
    allowed = ALLOWED.get(name, set()) | (ALLOWED_AT_THE_EDGE if name.startswith(AT_THE_EDGE) else set())
    tree = ast.parse(text, filename=name)
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
            if any(alias.name.split(".")[0] == "trio" for alias in node.names) and name.startswith(NO_TRIO):
                yield f"{name}:{node.lineno}: {name.split('/')[0]} must not know trio"
        elif isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_MODULES - allowed:
            if all(f"{node.module}.{alias.name}" in TYPE_ONLY for alias in node.names):
                continue
            yield f"{name}:{node.lineno}: takes {node.module} past the World"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS - allowed:
                yield f"{name}:{node.lineno}: calls {called} past the World"
        elif isinstance(node, ast.Attribute):
            used = ast.unparse(node)
            module = used.split(".")[0]
            if module in (FORBIDDEN_MODULES & imported) - allowed and used not in TYPE_ONLY:
                yield f"{name}:{node.lineno}: uses {used} past the World"


def main() -> int:
    found = [
        breach
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for breach in breaches(path)
    ]
    print("\n".join(found) or "the house rules hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
