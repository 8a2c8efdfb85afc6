"""``kbroker wire decode``: print a protocol message readably."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wire.describe import api_by_name, describe
from wire.errors import ProtocolError
from wire.headers import decode_request, decode_response
from wire.messages import request_class, response_class
from wire.schema import Request, Response


def decode(options: argparse.Namespace) -> int:
    """Print the message that the options name; exit code 2 if it cannot be read."""
    try:
        api = api_by_name(options.api)
        data = _bytes_of(options.request if options.request is not None else options.response)
        is_request = options.request is not None
        message: Request | Response
        if options.with_header:
            if is_request:
                header, message = decode_request(data)
                print(describe(header))
            else:
                correlation_id, message = decode_response(api.key, options.api_version, data)
                print(f"correlation_id: {correlation_id}")
        else:
            message_class = request_class(api.key) if is_request else response_class(api.key)
            message = message_class.decode(data, options.api_version)
    except (ProtocolError, ValueError, KeyError, OSError) as error:
        print(f"kbroker wire decode: {error}", file=sys.stderr)
        return 2
    print(describe(message))
    return 0


def _bytes_of(text: str) -> bytes:
    """The bytes in hexadecimal digits (white space and colons allowed), or else in the file of that name."""
    path = Path(text)
    try:
        return bytes.fromhex(text.replace(":", " "))
    except ValueError:
        if not path.exists():
            raise ValueError(f"{text!r} is neither hexadecimal digits nor a file") from None
        return path.read_bytes()
