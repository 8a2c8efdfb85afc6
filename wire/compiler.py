"""The compiled codec: turns the construct of one (message, version) into straight-line Python at first use.

`wire.primitives` gives the construct, `wire.decoding` and `wire.encoding` walk it and write the source. What they
write reads and writes the same bytes as the construct itself; tests/wire holds the two to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wire.decoding import write_decoder
from wire.encoding import write_encoder
from wire.primitives import message_struct

if TYPE_CHECKING:
    from wire.schema import Buffer, Message, Part

Decoder = Callable[["Buffer", int], tuple[Any, int]]
"""Reads the message at an offset: the message, and the offset behind it. Raises ProtocolError."""

Encoder = Callable[[Any, list[int]], "list[Part]"]
"""Writes a message: the pieces whose concatenation it is, and into the list the indexes of those that should not
be copied. Raises EncodeError."""


def compile_decoder(message_class: type[Message], version: int) -> Decoder:
    """The decoder of one version. Raises ProtocolError when the message does not have the version."""
    decoder: Decoder = write_decoder(message_class, version, message_struct(message_class, version))
    return decoder


def compile_encoder(message_class: type[Message], version: int) -> Encoder:
    """The encoder of one version. Raises ProtocolError when the message does not have the version."""
    encoder: Encoder = write_encoder(message_class, version, message_struct(message_class, version))
    return encoder
