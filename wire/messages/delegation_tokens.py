"""Delegation tokens (KIP-48): Create- (key 38), Renew- (key 39), Expire- (key 40), DescribeDelegationToken (key 41).

Versions 1-3 (Renew and Expire: 1-2), flexible from 2. 3: a token for somebody else (KIP-373).
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    binary,
    int16,
    int32,
    int64,
    nullable_array,
    nullable_string,
    string,
)


class CreateDelegationTokenRequest(Request, api_key=38, versions="1-3", flexible="2+"):
    class CreatableRenewers(Structure):
        principal_type: str = string()
        principal_name: str = string()

    owner_principal_type: str | None = nullable_string("3+")
    owner_principal_name: str | None = nullable_string("3+")
    renewers: list[CreatableRenewers] = array(CreatableRenewers)
    max_lifetime_ms: int = int64()


class CreateDelegationTokenResponse(Response, api_key=38, versions="1-3", flexible="2+"):
    error_code: int = int16()
    principal_type: str = string()
    principal_name: str = string()
    token_requester_principal_type: str = string("3+")
    token_requester_principal_name: str = string("3+")
    issue_timestamp_ms: int = int64()
    expiry_timestamp_ms: int = int64()
    max_timestamp_ms: int = int64()
    token_id: str = string()
    hmac: bytes = binary()
    throttle_time_ms: int = int32()


class RenewDelegationTokenRequest(Request, api_key=39, versions="1-2", flexible="2+"):
    hmac: bytes = binary()
    renew_period_ms: int = int64()


class RenewDelegationTokenResponse(Response, api_key=39, versions="1-2", flexible="2+"):
    error_code: int = int16()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()


class ExpireDelegationTokenRequest(Request, api_key=40, versions="1-2", flexible="2+"):
    hmac: bytes = binary()
    expiry_time_period_ms: int = int64()


class ExpireDelegationTokenResponse(Response, api_key=40, versions="1-2", flexible="2+"):
    error_code: int = int16()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()


class DescribeDelegationTokenRequest(Request, api_key=41, versions="1-3", flexible="2+"):
    class DescribeDelegationTokenOwner(Structure):
        principal_type: str = string()
        principal_name: str = string()

    owners: list[DescribeDelegationTokenOwner] | None = nullable_array(DescribeDelegationTokenOwner)


class DescribeDelegationTokenResponse(Response, api_key=41, versions="1-3", flexible="2+"):
    class DescribedDelegationToken(Structure):
        class DescribedDelegationTokenRenewer(Structure):
            principal_type: str = string()
            principal_name: str = string()

        principal_type: str = string()
        principal_name: str = string()
        token_requester_principal_type: str = string("3+")
        token_requester_principal_name: str = string("3+")
        issue_timestamp: int = int64()
        expiry_timestamp: int = int64()
        max_timestamp: int = int64()
        token_id: str = string()
        hmac: bytes = binary()
        renewers: list[DescribedDelegationTokenRenewer] = array(DescribedDelegationTokenRenewer)

    error_code: int = int16()
    tokens: list[DescribedDelegationToken] = array(DescribedDelegationToken)
    throttle_time_ms: int = int32()
