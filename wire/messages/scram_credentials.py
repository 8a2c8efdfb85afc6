"""SCRAM credentials (KIP-554): DescribeUserScramCredentials (key 50), AlterUserScramCredentials (key 51).

Version 0, flexible.
"""

from __future__ import annotations

from wire.schema import (
    Request,
    Response,
    Structure,
    array,
    binary,
    int8,
    int16,
    int32,
    nullable_array,
    nullable_string,
    string,
)


class DescribeUserScramCredentialsRequest(Request, api_key=50, versions="0", flexible="0+"):
    class UserName(Structure):
        name: str = string()

    users: list[UserName] | None = nullable_array(UserName)


class DescribeUserScramCredentialsResponse(Response, api_key=50, versions="0", flexible="0+"):
    class DescribeUserScramCredentialsResult(Structure):
        class CredentialInfo(Structure):
            mechanism: int = int8()
            iterations: int = int32()

        user: str = string()
        error_code: int = int16()
        error_message: str | None = nullable_string()
        credential_infos: list[CredentialInfo] = array(CredentialInfo)

    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = nullable_string()
    results: list[DescribeUserScramCredentialsResult] = array(DescribeUserScramCredentialsResult)


class AlterUserScramCredentialsRequest(Request, api_key=51, versions="0", flexible="0+"):
    class ScramCredentialDeletion(Structure):
        name: str = string()
        mechanism: int = int8()

    class ScramCredentialUpsertion(Structure):
        name: str = string()
        mechanism: int = int8()
        iterations: int = int32()
        salt: bytes = binary()
        salted_password: bytes = binary()

    deletions: list[ScramCredentialDeletion] = array(ScramCredentialDeletion)
    upsertions: list[ScramCredentialUpsertion] = array(ScramCredentialUpsertion)


class AlterUserScramCredentialsResponse(Response, api_key=51, versions="0", flexible="0+"):
    class AlterUserScramCredentialsResult(Structure):
        user: str = string()
        error_code: int = int16()
        error_message: str | None = nullable_string()

    throttle_time_ms: int = int32()
    results: list[AlterUserScramCredentialsResult] = array(AlterUserScramCredentialsResult)
