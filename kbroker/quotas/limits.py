"""Which of several quotas holds for a client (Kafka: ``ClientQuotaManager.DefaultQuotaCallback``).

The first entity with a quota says with whom a client shares it:

    1 user and client id                    the user's client id
    2 user, any client id                   the user's client id
    3 user                                  the user
    4 any user, client id                   the user's client id
    5 any user, any client id               the user's client id
    6 any user                              the user
    7 client id      8 any client id        the client id

Then those who share find their limit: a user's client id as 1, 2, 4, 5 say, a user as 3, 6, a client id as 7, 8. So a
client without a client id shares what its user has.
"""

from __future__ import annotations

from typing import NamedTuple

from kbroker.quotas.entities import CLIENT_ID, IP, USER, ClientQuotas


class Sharers(NamedTuple):
    """Who uses up one limit together; an empty string is for anybody."""

    user: str
    client_id: str


class Limits:
    """The values of one quota key, by entity of users and client ids."""

    def __init__(self, quotas: ClientQuotas, key: str) -> None:
        self._of_clients: dict[tuple[str | None, str | None], float] = {}
        self._of_users: dict[str | None, float] = {}
        self._of_client_ids: dict[str | None, float] = {}
        for entity, values in quotas.items():
            value = values.get(key)
            names = dict(entity)
            if value is None or IP in names:
                continue
            if USER in names and CLIENT_ID in names:
                self._of_clients[names[USER], names[CLIENT_ID]] = value
            elif USER in names:
                self._of_users[names[USER]] = value
            else:
                self._of_client_ids[names[CLIENT_ID]] = value

    def __bool__(self) -> bool:
        return bool(self._of_clients or self._of_users or self._of_client_ids)

    def sharers(self, user: str, client_id: str) -> Sharers:
        """With whom this client shares its limit, if it has one."""
        of_clients, of_users = self._of_clients, self._of_users
        if (user, client_id) in of_clients or (user, None) in of_clients:
            return Sharers(user, client_id)
        if user in of_users:
            return Sharers(user, "")
        if (None, client_id) in of_clients or (None, None) in of_clients:
            return Sharers(user, client_id)
        if None in of_users:
            return Sharers(user, "")
        return Sharers("", client_id)

    def of(self, sharers: Sharers) -> float | None:
        """Their limit; None if they have none."""
        user, client_id = sharers
        if user and client_id:
            found = self._of_clients
            for entity in ((user, client_id), (user, None), (None, client_id), (None, None)):
                if entity in found:
                    return found[entity]
            return None
        if user:
            return self._of_users.get(user, self._of_users.get(None))
        if client_id:
            return self._of_client_ids.get(client_id, self._of_client_ids.get(None))
        return None
