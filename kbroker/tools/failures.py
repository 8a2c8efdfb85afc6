"""What goes wrong in a command. By itself, as commands that only read files need nothing else of ``session``."""

from __future__ import annotations


class CommandError(Exception):
    """The command cannot do what it was told; the message is for the user."""


class NotStartedError(CommandError):
    """It cannot even begin: there is no such file of properties, or no broker of that name."""


class UnreadableFileError(NotStartedError):
    """``reason`` is the message without the class of Java's exception."""

    def __init__(self, error: OSError) -> None:
        super().__init__(os_error_text(error))
        self.reason = str(error.filename)


def root_cause(error: BaseException) -> BaseException:
    """The one error, or the first, that exception groups are about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def os_error_text(error: OSError) -> str:
    """As Java's exceptions tell it."""
    match error:
        case FileNotFoundError():
            return f"java.nio.file.NoSuchFileException: {error.filename}"
        case PermissionError():
            return f"java.nio.file.AccessDeniedException: {error.filename}"
        case _:
            return f"java.io.IOException: {error.strerror}: {error.filename}"
