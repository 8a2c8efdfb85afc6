"""SASL, before anything else on a connection.

SaslHandshake (key 17, versions 0-1, never flexible): choose a mechanism. After version 0 the tokens follow bare,
after version 1 inside SaslAuthenticate.

SaslAuthenticate (key 36, versions 0-2, flexible from 2): KIP-152. 1: for how long the session may live (KIP-368).
"""

from __future__ import annotations

from wire.schema import Request, Response, array, binary, int16, int64, nullable_string, string


class SaslHandshakeRequest(Request, api_key=17, versions="0-1"):
    mechanism: str = string()


class SaslHandshakeResponse(Response, api_key=17, versions="0-1"):
    error_code: int = int16()
    mechanisms: list[str] = array(string)


class SaslAuthenticateRequest(Request, api_key=36, versions="0-2", flexible="2+"):
    auth_bytes: bytes = binary()


class SaslAuthenticateResponse(Response, api_key=36, versions="0-2", flexible="2+"):
    error_code: int = int16()
    error_message: str | None = nullable_string()
    auth_bytes: bytes = binary()
    session_lifetime_ms: int = int64("1+", ignorable=True)
