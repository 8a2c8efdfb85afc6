"""What goes wrong in a command. By itself, as commands that only read files need nothing else of ``session``."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what it was told; the message is for the user."""
