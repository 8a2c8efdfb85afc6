"""Error codes and the exceptions that carry them. Their agreement with kio is tested in test_kio_agreement.py."""

from __future__ import annotations

import pytest

from wire.errors import ApiError, EncodeError, ErrorCode, ProtocolError, UnsupportedFieldError


def test_codes_have_no_gap() -> None:
    assert [int(code) for code in ErrorCode] == list(range(-1, 137))


def test_every_code_has_a_description() -> None:
    descriptions = [code.description for code in ErrorCode]
    assert all(description.endswith(".") and len(description) < 90 for description in descriptions)
    assert len(set(descriptions)) == len(descriptions)


def test_retriable() -> None:
    assert ErrorCode.NOT_LEADER_OR_FOLLOWER.retriable
    assert ErrorCode.CORRUPT_MESSAGE.retriable
    assert not ErrorCode.NONE.retriable
    assert not ErrorCode.UNKNOWN_SERVER_ERROR.retriable
    assert not ErrorCode.MESSAGE_TOO_LARGE.retriable


def test_api_error() -> None:
    error = ApiError(ErrorCode.INVALID_CONFIG, "no such key")
    assert error.code is ErrorCode.INVALID_CONFIG
    assert error.message == "no such key"
    assert str(error) == "INVALID_CONFIG: no such key"
    assert ApiError(ErrorCode.INVALID_CONFIG).message is None
    assert str(ApiError(ErrorCode.INVALID_CONFIG)) == "INVALID_CONFIG: A configuration value is not valid."


def test_kinds_of_error() -> None:
    """What closes a connection is one family; what belongs into a response is none of it."""
    assert issubclass(UnsupportedFieldError, EncodeError)
    assert issubclass(EncodeError, ProtocolError)
    with pytest.raises(ApiError):
        raise ApiError(ErrorCode.NONE)
    assert not issubclass(ApiError, ProtocolError)
