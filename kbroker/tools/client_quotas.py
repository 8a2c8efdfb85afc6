"""``kafka-configs`` for users, clients and addresses: quotas (KIP-546), and users' SCRAM credentials (KIP-554)."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from hashlib import pbkdf2_hmac
from typing import Final

from kbroker.config.definition import java_double_text
from kbroker.tools.cluster import Cluster
from kbroker.tools.java_order import java_order
from kbroker.tools.session import CommandError
from wire.errors import ApiError, ErrorCode
from wire.messages.client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)
from wire.messages.scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
)

_ENTITY_TYPES: Final = {"users": "user", "clients": "client-id", "ips": "ip"}
_SHOWN_TYPES: Final = {"user": "user-principal", "client-id": "client-id", "ip": "ip"}
_CLIENT_QUOTAS: Final = frozenset(
    {"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"}
)
_IP_QUOTAS: Final = frozenset({"connection_creation_rate"})
_MECHANISMS: Final = {"SCRAM-SHA-256": (1, "sha256"), "SCRAM-SHA-512": (2, "sha512")}
_ITERATIONS_MIN: Final = 4_096
_ITERATIONS_DEFAULT: Final = 4_096
_SALT_BYTES: Final = 26
_EXACT, _DEFAULT, _ANY = 0, 1, 2


async def describe(types: Sequence[str], names: Sequence[str], cluster: Cluster) -> None:
    """Print the quotas of these entities ("" is the default), and of users alone the credentials, too."""
    for entity, quotas in await _quotas(types, names, cluster):
        shown = ", ".join(
            f"the default {_SHOWN_TYPES[kind]}"
            if entity[kind] is None
            else f"{_SHOWN_TYPES[kind]} '{entity[kind]}'"
            for kind in _SHOWN_TYPES
            if kind in entity
        )
        values = ", ".join(
            f"{key}={java_double_text(quotas[key])}" for key in java_order(list(quotas), sized=True)
        )
        print(f"Quota configs for {shown} are {values}")
    if "clients" not in types and "ips" not in types and "" not in names:
        await _describe_credentials(names, cluster)


async def _describe_credentials(users: Sequence[str], cluster: Cluster) -> None:
    request = DescribeUserScramCredentialsRequest(
        users=[DescribeUserScramCredentialsRequest.UserName(name=name) for name in users] or None
    )
    response = await cluster.controller(
        request, DescribeUserScramCredentialsResponse, errors=lambda answer: [answer.error_code]
    )
    _raise_error(response.error_code, response.error_message)
    mechanisms = {number: name for name, (number, _) in _MECHANISMS.items()}
    for result in response.results:
        if result.error_code == ErrorCode.RESOURCE_NOT_FOUND:
            continue
        if result.error_code:
            from kbroker.tools.java_errors import java_text

            text = java_text(ApiError(ErrorCode(result.error_code), result.error_message)).rpartition(
                ".errors."
            )[2]
            print(f"Error retrieving SCRAM credential configs for user-principal '{result.user}': {text}")
            continue
        shown = ", ".join(
            f"{mechanisms.get(one.mechanism, 'UNKNOWN')}=iterations={one.iterations}"
            for one in result.credential_infos
        )
        print(f"SCRAM credential configs for user-principal '{result.user}' are {shown}")


async def alter(
    types: Sequence[str],
    names: Sequence[str],
    added: Mapping[str, str],
    deleted: Sequence[str],
    cluster: Cluster,
) -> None:
    """Change the quotas of an entity, or a user's credentials. CommandError, ApiError."""
    if types[0] == "ips":
        if unknown := [name for name in [*added, *deleted] if name not in _IP_QUOTAS]:
            raise CommandError(
                "Only connection quota configs can be added for 'ips' using --bootstrap-server. "
                f"Unexpected config names: {','.join(unknown)}"
            )
        await _alter_quotas(types, names, added, deleted, cluster)
        return
    _check(types, names, added, deleted)
    if _CLIENT_QUOTAS & {*added, *deleted}:
        await _alter_quotas(types, names, added, deleted, cluster)
    else:
        await _alter_credentials(names[0], added, deleted, cluster)


def _check(
    types: Sequence[str], names: Sequence[str], added: Mapping[str, str], deleted: Sequence[str]
) -> None:
    only_clients = types[0] == "clients" or len(types) == 2
    allowed = _CLIENT_QUOTAS if only_clients else _CLIENT_QUOTAS | _MECHANISMS.keys()
    what, kind = ("quota", "clients") if only_clients else ("quota and SCRAM credential", "users")
    for verb, given in (("added", list(added)), ("deleted", list(deleted))):
        if unknown := [name for name in given if name not in allowed]:
            raise CommandError(
                f"Only {what} configs can be {verb} for '{kind}' using --bootstrap-server. "
                f"Unexpected config names: {','.join(unknown)}"
            )
    if _MECHANISMS.keys() & {*added, *deleted}:
        if "" in names:
            raise CommandError(
                "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using "
                "--bootstrap-server."
            )
        if _CLIENT_QUOTAS & {*added, *deleted}:
            raise CommandError(
                "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using "
                "--bootstrap-server."
            )


async def _quotas(
    types: Sequence[str], names: Sequence[str], cluster: Cluster
) -> list[tuple[dict[str, str | None], dict[str, float]]]:
    """Entities that have exactly these types, and their quotas; without a name, all of the type."""
    if len(names) > len(types):
        raise CommandError("More entity names specified than entity types")
    components = []
    for index, kind in enumerate(types):
        name = names[index] if index < len(names) else None
        components.append(
            DescribeClientQuotasRequest.ComponentData(
                entity_type=_ENTITY_TYPES[kind],
                match_type=_ANY if name is None else _EXACT if name else _DEFAULT,
                match=name or None,
            )
        )
    request = DescribeClientQuotasRequest(components=components, strict=True)
    response = await cluster.any(request, DescribeClientQuotasResponse)
    _raise_error(response.error_code, response.error_message)
    return [
        (
            {one.entity_type: one.entity_name for one in entry.entity},
            {one.key: one.value for one in entry.values},
        )
        for entry in response.entries or []
    ]


async def _alter_quotas(
    types: Sequence[str],
    names: Sequence[str],
    added: Mapping[str, str],
    deleted: Sequence[str],
    cluster: Cluster,
) -> None:
    found = await _quotas(types, names, cluster)
    present = found[0][1] if found else {}
    if unknown := [name for name in deleted if name not in present]:
        raise CommandError(f"Invalid config(s): {','.join(unknown)}")
    entry_class = AlterClientQuotasRequest.EntryData
    entry = entry_class(
        entity=[
            entry_class.EntityData(entity_type=_ENTITY_TYPES[kind], entity_name=name or None)
            for kind, name in zip(types, names, strict=True)
        ],
        ops=[
            *(entry_class.OpData(key=key, value=_number(key, text)) for key, text in added.items()),
            *(entry_class.OpData(key=key, remove=True) for key in deleted),
        ],
    )
    response = await cluster.controller(
        AlterClientQuotasRequest(entries=[entry]),
        AlterClientQuotasResponse,
        errors=lambda answer: [one.error_code for one in answer.entries],
    )
    for result in response.entries:
        _raise_error(result.error_code, result.error_message)


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandError(f"Cannot parse quota configuration value for {key}: {text}") from None


async def _alter_credentials(
    user: str, added: Mapping[str, str], deleted: Sequence[str], cluster: Cluster
) -> None:
    upsertions = []
    for mechanism, text in added.items():
        number, digest = _MECHANISMS[mechanism]
        iterations, password = _iterations_and_password(mechanism, text)
        salt = random.randbytes(_SALT_BYTES)
        upsertions.append(
            AlterUserScramCredentialsRequest.ScramCredentialUpsertion(
                name=user,
                mechanism=number,
                iterations=iterations,
                salt=salt,
                salted_password=pbkdf2_hmac(digest, password.encode(), salt, iterations),
            )
        )
    request = AlterUserScramCredentialsRequest(
        deletions=[
            AlterUserScramCredentialsRequest.ScramCredentialDeletion(
                name=user, mechanism=_MECHANISMS[mechanism][0]
            )
            for mechanism in deleted
        ],
        upsertions=upsertions,
    )
    response = await cluster.controller(
        request,
        AlterUserScramCredentialsResponse,
        errors=lambda answer: [one.error_code for one in answer.results],
    )
    for result in response.results:
        _raise_error(result.error_code, result.error_message)


def _iterations_and_password(mechanism: str, text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(?:iterations=(-?[0-9]*),)?password=(.*)", text)
    if found is None:
        raise CommandError(f"Invalid credential property {mechanism.replace('-', '_')}={text}")
    iterations = _ITERATIONS_DEFAULT if found[1] in (None, "", "-1") else int(found[1])
    if iterations < _ITERATIONS_MIN:
        raise CommandError(
            f"Iterations {iterations} is less than the minimum {_ITERATIONS_MIN} required for {mechanism}"
        )
    return iterations, found[2]


def _raise_error(code: int, message: str | None) -> None:
    if code:
        raise ApiError(ErrorCode(code), message)
