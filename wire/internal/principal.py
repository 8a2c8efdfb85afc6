"""Records."""

from __future__ import annotations

from wire.schema import InternalRecord, boolean, string


class DefaultPrincipalData(InternalRecord, versions="0", flexible="0+"):
    type: str = string()
    name: str = string()
    token_authenticated: bool = boolean()
