"""What goes wrong in a command. By itself, as commands that only read files need nothing else of ``session``."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what it was told; the message is for the user."""


class NotStartedError(CommandError):
    """It cannot even begin: there is no such file of properties, or no broker of that name."""


def root_cause(error: BaseException) -> BaseException:
    """The one error, or the first, that exception groups are about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
