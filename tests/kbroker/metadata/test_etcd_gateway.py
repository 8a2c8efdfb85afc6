"""The client of etcd's gateway against members that exist only as a function: what is tried again, and what is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx
import pytest
import trio
from trio.testing import MockClock

from kbroker.metadata.etcd import EtcdMetadataStore
from kbroker.metadata.etcd_gateway import EtcdGateway, EtcdSettings, http_transport
from kbroker.metadata.etcd_messages import EtcdRefusedError, KeySpace, lease_request
from kbroker.metadata.store import (
    Compare,
    Delete,
    DeletePrefix,
    LeaseExpiredError,
    Put,
    StoreError,
    StoreFormatError,
    StoreUnavailableError,
    WatchBatch,
)

ANSWER = {"header": {"revision": "7"}}
Behaviour = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Members(httpx.AsyncBaseTransport):
    """etcd members m1, m2, ...; each answers as its behaviours say, one after another and the last for good."""

    def __init__(self, *behaviours: Sequence[Behaviour]) -> None:
        self._behaviours = {f"m{number}": list(each) for number, each in enumerate(behaviours, start=1)}
        self.asked: list[str] = []
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        self.asked.append(host)
        await request.aread()
        self.requests.append(request)
        behaviours = self._behaviours[host]
        return await (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0])(request)

    def gateway(self, **settings: str) -> EtcdGateway:
        endpoints = [f"http://{host}:2379" for host in self._behaviours]
        return EtcdGateway(EtcdSettings(endpoints, **settings), transport=self)


def answering(answer: object, status: int = 200) -> Behaviour:
    async def behave(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json=answer)

    return behave


def failing(code: int, message: str, status: int = 503) -> Behaviour:
    """As etcd 3.4's and 3.5's gateway answers."""
    return answering({"error": message, "message": message, "code": code}, status)


def raising(error: Exception) -> Behaviour:
    async def behave(request: httpx.Request) -> httpx.Response:
        raise error

    return behave


def saying(text: str, status: int) -> Behaviour:
    async def behave(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, text=text)

    return behave


async def silent(request: httpx.Request) -> httpx.Response:
    await trio.sleep_forever()
    raise AssertionError("unreachable")


WELL = answering(ANSWER)
NOT_SENT = [
    raising(httpx.ConnectError("refused")),
    raising(httpx.ConnectTimeout("")),
    raising(httpx.PoolTimeout("")),
    failing(14, "etcdserver: no leader"),
]
IN_DOUBT = [
    silent,
    raising(httpx.ReadError("reset")),
    raising(httpx.WriteError("broken pipe")),
    raising(httpx.RemoteProtocolError("closed without an answer")),
    failing(14, "etcdserver: request timed out"),
    failing(14, "etcdserver: leader changed"),
    failing(8, "etcdserver: mvcc: database space exceeded", 429),
    failing(1, "context canceled", 408),
    failing(4, "context deadline exceeded", 504),
    answering({"code": 14, "message": "etcdserver: server stopped", "details": []}, 503),
    answering({"error": {"grpc_code": 14, "message": "etcdserver: not ready"}}),
    saying("bad gateway", 502),
]


@pytest.mark.parametrize("trouble", NOT_SENT)
async def test_what_was_not_sent_goes_to_the_next_member(trouble: Behaviour) -> None:
    members = Members([trouble], [WELL], [WELL])
    gateway = members.gateway()
    assert await gateway.call("/v3/kv/txn", {}, repeatable=False) == ANSWER
    assert members.asked == ["m1", "m2"]
    # And the member that worked is remembered.
    await gateway.call("/v3/kv/txn", {}, repeatable=False)
    assert members.asked == ["m1", "m2", "m2"]


@pytest.mark.parametrize("trouble", IN_DOUBT)
async def test_what_may_have_been_carried_out_is_not_sent_twice(
    trouble: Behaviour, autojump_clock: MockClock
) -> None:
    members = Members([trouble], [WELL])
    gateway = members.gateway()
    with pytest.raises(StoreUnavailableError):
        await gateway.call("/v3/kv/txn", {}, repeatable=False)
    assert members.asked == ["m1"]
    # The next request begins elsewhere.
    await gateway.call("/v3/kv/txn", {}, repeatable=False)
    assert members.asked == ["m1", "m2"]


@pytest.mark.parametrize("trouble", [*NOT_SENT, *IN_DOUBT])
async def test_what_may_be_repeated_is_asked_of_every_member_in_turn(
    trouble: Behaviour, autojump_clock: MockClock
) -> None:
    members = Members([trouble], [trouble], [WELL])
    assert await members.gateway().call("/v3/kv/range", {}, repeatable=True) == ANSWER
    assert members.asked == ["m1", "m2", "m3"]
    members = Members([trouble], [trouble])
    with pytest.raises(StoreUnavailableError, match=r"m1.*m2"):
        await members.gateway().call("/v3/kv/range", {}, repeatable=True)
    assert members.asked == ["m1", "m2"]


async def test_a_silent_member_costs_the_request_timeout(autojump_clock: MockClock) -> None:
    members = Members([silent], [WELL])
    await members.gateway().call("/v3/lease/keepalive", {}, repeatable=True)
    assert trio.current_time() == pytest.approx(2.5, abs=0.01)


async def test_an_answer_that_comes_in_drops_costs_no_more(autojump_clock: MockClock) -> None:
    class Drops(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await trio.sleep(1)
                yield b" "

    async def dripping(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Drops())

    with pytest.raises(StoreUnavailableError, match=r"no answer in 2\.5 s"):
        await Members([dripping]).gateway().call("/v3/kv/range", {}, repeatable=True)


@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize(
    "refusal",
    [
        failing(3, "etcdserver: request is too large", 400),
        failing(7, "etcdserver: permission denied", 403),
        failing(11, "etcdserver: mvcc: required revision has been compacted", 400),
        saying("404 page not found", 404),
    ],
)
async def test_a_refusal_is_final(refusal: Behaviour, repeatable: bool) -> None:
    members = Members([refusal], [WELL])
    with pytest.raises(EtcdRefusedError):
        await members.gateway().call("/v3/kv/txn", {}, repeatable=repeatable)
    assert members.asked == ["m1"]


async def test_every_request_demands_a_leader() -> None:
    members = Members([WELL])
    await members.gateway().call("/v3/kv/range", {"key": "YQ=="}, repeatable=True)
    (request,) = members.requests
    assert request.headers["Grpc-Metadata-hasleader"] == "true"
    assert "Authorization" not in request.headers
    assert json.loads(request.content) == {"key": "YQ=="}


@pytest.mark.parametrize("endpoints", [[], ["127.0.0.1:2379"], ["ftp://m1"], ["http://"], ["http://[::1"]])
def test_endpoints_that_are_no_addresses_are_refused(endpoints: list[str]) -> None:
    with pytest.raises(StoreError):
        EtcdGateway(EtcdSettings(endpoints), transport=Members([WELL]))


def test_certificates_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(StoreError, match=r"nothing\.pem"):
        http_transport(EtcdSettings(["https://m1"], ca_file="nothing.pem"))


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(EtcdSettings(["http://m1"], password="secret"))


# Login


class Users:
    """A member with users: tokens count up, and all but the newest are no longer good."""

    def __init__(self) -> None:
        self.logins = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        if request.url.path == "/v3/auth/authenticate":
            if json.loads(request.content) != {"name": "kbroker", "password": "secret"}:
                return await failing(3, "etcdserver: authentication failed, invalid user ID or password")(
                    request
                )
            self.logins += 1
            return httpx.Response(200, json={"token": f"token{self.logins}"})
        token = request.headers.get("Authorization")
        if token is None:
            return await failing(3, "etcdserver: user name is empty", 400)(request)
        if token != f"token{self.logins}":
            return await failing(16, "etcdserver: invalid auth token", 401)(request)
        return httpx.Response(200, json=ANSWER)


async def test_a_user_logs_in_first_and_again_when_the_token_is_no_longer_good() -> None:
    users = Users()
    gateway = Members([users]).gateway(username="kbroker", password="secret")
    for _ in range(3):
        assert await gateway.call("/v3/kv/txn", {}, repeatable=False) == ANSWER
    assert users.logins == 1
    users.logins += 1  # the token has run out
    assert await gateway.call("/v3/kv/txn", {}, repeatable=False) == ANSWER
    assert users.logins == 3


async def test_many_requests_with_a_token_that_has_run_out_log_in_once() -> None:
    users = Users()
    gateway = Members([users]).gateway(username="kbroker", password="secret")
    await gateway.call("/v3/kv/range", {}, repeatable=True)
    users.logins += 1
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(lambda: gateway.call("/v3/kv/range", {}, repeatable=True))
    assert users.logins == 3


async def test_a_login_is_tried_once_only() -> None:
    async def never_content(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v3/auth/authenticate":
            return httpx.Response(200, json={"token": "token"})
        return await failing(16, "etcdserver: invalid auth token", 401)(request)

    members = Members([never_content])
    with pytest.raises(EtcdRefusedError):
        await members.gateway(username="kbroker", password="secret").call("/v3/kv/range", {}, repeatable=True)
    assert len(members.requests) == 4


async def test_a_wrong_password_is_said_to_be_one() -> None:
    gateway = Members([Users()]).gateway(username="kbroker", password="wrong")
    with pytest.raises(EtcdRefusedError, match=r"'kbroker'.*authentication failed"):
        await gateway.call("/v3/kv/range", {}, repeatable=True)


async def test_a_missing_user_is_said_to_be_missing() -> None:
    with pytest.raises(EtcdRefusedError, match=r"kbroker\.etcd\.username"):
        await Members([Users()]).gateway().call("/v3/kv/range", {}, repeatable=True)


async def test_etcd_without_users_takes_requests_of_a_user_and_may_get_users_later() -> None:
    not_enabled = failing(9, "etcdserver: authentication is not enabled", 400)
    users = Users()
    members = Members([not_enabled, WELL, users])
    gateway = members.gateway(username="kbroker", password="secret")
    await gateway.call("/v3/kv/range", {}, repeatable=True)
    assert "Authorization" not in members.requests[-1].headers
    assert users.logins == 0
    await gateway.call("/v3/kv/range", {}, repeatable=True)
    assert users.logins == 1


# The store's calls


def store_with(*behaviours: Behaviour) -> tuple[EtcdMetadataStore, Members]:
    members = Members(behaviours)
    return EtcdMetadataStore(members.gateway(), "p/"), members


async def test_a_transaction_that_names_a_lease_which_is_gone_says_so() -> None:
    store, _ = store_with(failing(5, "etcdserver: requested lease not found", 404))
    with pytest.raises(LeaseExpiredError):
        await store.transact([], [Put("a", b"", 5)])


@pytest.mark.parametrize("time_to_live", [{}, {"TTL": "0"}, {"TTL": "-1"}])
async def test_a_lease_without_time_to_live_is_gone(time_to_live: dict[str, str]) -> None:
    store, _ = store_with(answering({"result": {"ID": "5", **time_to_live}}))
    with pytest.raises(LeaseExpiredError):
        await store.keep_alive(5)


async def test_leases_last_whole_seconds_and_never_less_than_asked_for() -> None:
    assert [lease_request(seconds)["TTL"] for seconds in (0.2, 1, 2.001, 9)] == ["1", "1", "3", "9"]


async def test_transaction_as_etcd_wants_it() -> None:
    store, members = store_with(answering({"header": {"revision": "12"}, "succeeded": True}))
    result = await store.transact([Compare("a", 3)], [Put("a", b"\xff", 5), Delete("b"), DeletePrefix("c/")])
    assert result == (True, 12)
    assert json.loads(members.requests[0].content) == {
        "compare": [{"target": "MOD", "result": "EQUAL", "key": "cC9h", "mod_revision": "3"}],
        "success": [
            {"request_put": {"key": "cC9h", "value": "/w==", "lease": "5"}},
            {"request_delete_range": {"key": "cC9i"}},
            {"request_delete_range": {"key": "cC9jLw==", "range_end": "cC9jMA=="}},
        ],
    }


def test_a_key_that_is_not_text_is_not_ours() -> None:
    with pytest.raises(StoreFormatError):
        KeySpace("p/").decode("cC//")


# Watch streams that break


def stream_of(*chunks: bytes, ending: Exception | None = None, hanging: bool = False) -> Behaviour:
    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk
            if ending is not None:
                raise ending
            if hanging:
                await trio.sleep_forever()

    async def behave(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Stream())

    return behave


def line(*revisions: int, **fields: object) -> bytes:
    """A message of a watch: one event for every revision, on the key "p/k<revision>"."""
    keys = KeySpace("p/")
    events = [
        {
            "kv": {
                "key": keys.encode(f"k{revision}"),
                "create_revision": str(revision),
                "mod_revision": str(revision),
            }
        }
        for revision in revisions
    ]
    return json.dumps({"result": {"header": {}, "events": events, **fields}}).encode() + b"\n"


CREATED = line(created=True)


def revisions_asked_for(members: Members) -> list[tuple[str, int]]:
    return [
        (request.url.host, int(json.loads(request.content)["create_request"]["start_revision"]))
        for request in members.requests
    ]


async def batches_of(store: EtcdMetadataStore, from_revision: int, number: int) -> list[WatchBatch]:
    async with store.watch("", from_revision) as watch:
        return [await watch.__anext__() for _ in range(number)]


@pytest.mark.parametrize(
    "breaking",
    [
        stream_of(CREATED, line(5), ending=httpx.ReadError("reset")),
        stream_of(CREATED, line(5)),
        stream_of(CREATED, line(5) + line(6)[:20], ending=httpx.ReadError("in the middle of a message")),
        stream_of(CREATED, line(5), b'{"error":{"grpc_code":14,"message":"etcdserver: no leader"}}\n'),
        stream_of(CREATED, line(5), line(canceled=True, cancel_reason="watcher lost")),
    ],
)
async def test_a_watch_goes_on_at_the_next_member_where_it_broke(breaking: Behaviour) -> None:
    members = Members([breaking], [stream_of(CREATED, line(4, 5, 6), line(7), hanging=True)])
    store = EtcdMetadataStore(members.gateway(), "p/")
    assert [batch.revision for batch in await batches_of(store, 5, 3)] == [5, 6, 7]
    # One revision before the wanted one, against etcd's own hole at a compacted revision.
    assert revisions_asked_for(members) == [("m1", 4), ("m2", 5)]


async def test_a_silent_watch_is_opened_anew_and_never_ends(autojump_clock: MockClock) -> None:
    quiet = stream_of(CREATED, hanging=True)
    members = Members([quiet] * 50 + [stream_of(CREATED, line(9), hanging=True)], [quiet])
    store = EtcdMetadataStore(members.gateway(), "p/")
    assert [batch.revision for batch in await batches_of(store, 9, 1)] == [9]
    assert trio.current_time() == pytest.approx(50 * 5, abs=1)
    assert set(revisions_asked_for(members)) == {("m1", 8)}


async def test_a_watch_that_breaks_at_once_everywhere_says_so_and_can_be_asked_again() -> None:
    broken = stream_of(CREATED, ending=httpx.ReadError("reset"))
    members = Members([broken], [broken, stream_of(CREATED, line(3), hanging=True)])
    async with EtcdMetadataStore(members.gateway(), "p/").watch("", 3) as watch:
        with pytest.raises(StoreUnavailableError):
            await watch.__anext__()
        assert members.asked == ["m1", "m2", "m1"]
        assert (await watch.__anext__()).revision == 3


async def test_a_cancelled_wait_loses_nothing_and_counts_for_nothing(autojump_clock: MockClock) -> None:
    quiet = stream_of(CREATED, hanging=True)
    store, members = store_with(*[quiet] * 10, stream_of(CREATED, line(3), hanging=True))
    async with store.watch("", 3) as watch:
        for _ in range(10):
            with trio.move_on_after(1):
                await watch.__anext__()
        assert (await watch.__anext__()).revision == 3
    assert len(members.requests) == 11


async def test_messages_may_be_cut_anywhere() -> None:
    whole = CREATED + line(3, 3, 4) + line() + line(6)
    for size in (1, 7, 50, len(whole)):
        chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
        store, _ = store_with(stream_of(*chunks, hanging=True))
        assert [(batch.revision, len(batch.events)) for batch in await batches_of(store, 2, 3)] == [
            (3, 2),
            (4, 1),
            (6, 1),
        ]


async def test_a_watch_whose_token_has_run_out_logs_in_once() -> None:
    refused = line(
        created=True,
        canceled=True,
        cancel_reason="rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
    )
    token = answering({"token": "token"})
    members = Members([token, stream_of(refused), token, stream_of(CREATED, line(3), hanging=True)])
    store = EtcdMetadataStore(members.gateway(username="kbroker", password="secret"), "p/")
    assert [batch.revision for batch in await batches_of(store, 3, 1)] == [3]


async def test_tokens_that_run_out_again_and_again_do_not_end_a_quiet_watch(
    autojump_clock: MockClock,
) -> None:
    refused = line(created=True, canceled=True, cancel_reason="etcdserver: invalid auth token")
    token = answering({"token": "token"})
    quiet = stream_of(CREATED, hanging=True)
    members = Members(
        [token, *[quiet, stream_of(refused), token] * 3, stream_of(CREATED, line(3), hanging=True)]
    )
    store = EtcdMetadataStore(members.gateway(username="kbroker", password="secret"), "p/")
    assert [batch.revision for batch in await batches_of(store, 3, 1)] == [3]


async def test_a_watch_that_is_not_permitted_ends() -> None:
    denied = line(created=True, canceled=True, cancel_reason="etcdserver: permission denied")
    token = answering({"token": "token"})
    members = Members([token, stream_of(denied), token, stream_of(denied)])
    store = EtcdMetadataStore(members.gateway(username="kbroker", password="secret"), "p/")
    with pytest.raises(EtcdRefusedError, match="permission denied"):
        await batches_of(store, 3, 1)
    assert len(members.requests) == 4
