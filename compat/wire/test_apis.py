"""Who serves which APIs, at which versions; and that every API that both serve has cases at all of its versions."""

from __future__ import annotations

from compat.wire.cases import ALL_CASES
from compat.wire.scene import Scene, Side
from compat.wire.served import NOT_SERVED_HERE, OTHER_VERSIONS, SERVED_HERE_ONLY
from wire.messages import API_KEYS, request_class
from wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

Versions = dict[int, tuple[int, int]]


def _served_by(side: Side) -> Versions:
    request = ApiVersionsRequest(client_software_name="wire", client_software_version="1")
    scene = Scene(side, ApiVersionsRequest.max_version, "", ())
    answer = scene.ask(request, ApiVersionsResponse)
    return {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}


def test_both_serve_the_same_apis_but_for_those_listed(sides: tuple[Side, Side]) -> None:
    theirs, ours = map(_served_by, sides)
    assert theirs.keys() - ours.keys() == NOT_SERVED_HERE.keys()
    assert ours.keys() - theirs.keys() == SERVED_HERE_ONLY.keys()
    other = {key: (theirs[key], ours[key]) for key in theirs.keys() & ours.keys() if theirs[key] != ours[key]}
    assert other == {key: (their, our) for key, (their, our, _) in OTHER_VERSIONS.items()}


def test_every_version_of_every_api_that_both_serve_has_cases(sides: tuple[Side, Side]) -> None:
    theirs, ours = map(_served_by, sides)
    covered = {(case.request_class.api_key, version) for case in ALL_CASES for version in case.at()}
    missing = [
        f"{API_KEYS[key].name} {version}"
        for key in sorted(theirs.keys() & ours.keys())
        for version in range(request_class(key).min_version, min(theirs[key][1], ours[key][1]) + 1)
        if (key, version) not in covered
    ]
    assert not missing, missing
