"""The driver's side of the line protocol: requests in, answers out, a method for each thing that can be done."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

Json = dict[str, Any]


class Refusal(Exception):
    """What the library said no to; ``name`` is the error's."""

    def __init__(self, name: str, message: str = "") -> None:
        super().__init__(message)
        self.name = name


def hello(
    *, client: str, version: str, language: str, features: Mapping[str, str], unsupported: Mapping[str, str]
) -> Json:
    """The answer to ``hello``: every feature that ``unsupported`` does not name."""
    return {
        "client": client,
        "version": version,
        "language": language,
        "features": [feature for feature in features if feature not in unsupported],
        "unsupported": dict(unsupported),
    }


def serve(answer: Callable[[str, Json], Any], name_of: Callable[[Exception], str]) -> None:
    """Read requests until standard input ends; ``answer`` does one and raises what the library raised."""
    # Standard output is for answers alone; what a library prints must not get between them.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        _write(answers, _one(request, answer, name_of))


def _one(request: Json, answer: Callable[[str, Json], Any], name_of: Callable[[Exception], str]) -> Json:
    number, do = request.pop("id"), request.pop("do")
    try:
        return {"id": number, "result": answer(do, request)}
    except Refusal as refusal:
        return {"id": number, "error": refusal.name, "message": str(refusal)}
    except Exception as error:
        return {"id": number, "error": name_of(error), "message": str(error)}


def method_of(driver: object, do: str) -> Callable[..., Any]:
    """The method that is named as the operation is; Refusal where there is none."""
    method = None if do.startswith("_") else getattr(driver, do, None)
    if method is None:
        raise Refusal("UNSUPPORTED", f"this driver has no {do!r}")
    return method  # type: ignore[no-any-return]


def to_bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def to_text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _write(stream: TextIO, answer: Json) -> None:
    stream.write(json.dumps(answer) + "\n")
    stream.flush()
