"""What Kafka's commands log (to standard error), in the format of their tools-log4j2.yaml."""

from __future__ import annotations

import sys
from datetime import datetime


def log(level: str, message: str, logger: str) -> None:
    """Print one line."""
    print(log_line(level, message, logger), file=sys.stderr)


def log_line(level: str, message: str, logger: str) -> str:
    """``[time] LEVEL message (logger)``."""
    now = datetime.now()
    stamp = f"{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}"
    return f"[{stamp}] {level} {message} ({logger})"
