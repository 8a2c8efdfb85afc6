"""Records as JSON, from which the same records come back, and as text."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.prompt.record_json import GivenRecord, parse_record, record_line
from kbroker.prompt.record_text import formatter, moment_text
from kbroker.prompt.terminal import Terminal
from wire.record import HEADER_KEY_ERRORS, Record

binary = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
names = st.binary(max_size=10).map(lambda name: name.decode("utf-8", HEADER_KEY_ERRORS))
records = st.builds(
    Record,
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(-1, 2**63 - 1),
    key=binary,
    value=binary,
    headers=st.lists(st.tuples(names, binary), max_size=3).map(tuple),
)


@given(records, st.integers(0, 2**31 - 1))
def test_what_is_printed_reads_as_the_same_record(record: Record, partition: int) -> None:
    line = record_line(("topic", partition), record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert parse_record(line) == GivenRecord(
        "topic", partition, record.timestamp, record.key, record.value, record.headers
    )


def test_text_is_text_in_json_and_other_bytes_are_base64() -> None:
    record = Record(5, 7, "kéy".encode(), b"\xff\x00", (("h", None), ("i", b"x")))
    assert json.loads(record_line(("t", 3), record)) == {
        "topic": "t",
        "partition": 3,
        "offset": 5,
        "timestamp": 7,
        "key": "kéy",
        "value": {"base64": "/wA="},
        "headers": [{"name": "h", "value": None}, {"name": "i", "value": "x"}],
    }


def test_only_a_value_is_needed() -> None:
    assert parse_record(b'{"value": null}') == GivenRecord(None, None, None, None, None, ())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "there is no value"),
        ('{"value": 5}', "value: not a string"),
        ('{"value": {"base64": "%"}}', "value: "),
        ('{"value": {"base64": "AA==", "more": 1}}', "value: not a string"),
        ('{"value": "\\ud800"}', "value: "),
        ('{"value": "v", "key": []}', "key: not a string"),
        ('{"value": "v", "vaule": "v"}', "'vaule' is no field"),
        ('{"value": "v", "partition": "0"}', "partition: '0' is not a number"),
        ('{"value": "v", "partition": 2147483648}', "partition: 2147483648 is not"),
        ('{"value": "v", "timestamp": true}', "timestamp: True is not"),
        ('{"value": "v", "headers": {"a": "b"}}', "headers: not a list"),
        ('{"value": "v", "headers": [{"value": "b"}]}', "headers: not a list of"),
        ('{"value": "v", "headers": [{"name": null}]}', "headers: a name is null"),
        ('{"value": "v", "topic": 1}', "topic: not a string"),
    ],
)
def test_what_is_no_record(line: str, reason: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_record(line.encode())
    assert reason in str(refused.value)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["value", "key", "headers", "name", "base64", "partition", "timestamp"]), inner
        )
    ),
)


@given(any_json)
def test_any_json_is_read_or_refused_in_words(value: Any) -> None:
    try:
        record = parse_record(json.dumps(value).encode())
    except ValueError:
        return
    assert isinstance(value, dict)
    assert (record.value is None) == (value["value"] is None)


def test_nothing_is_too_deep() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        parse_record(b"[" * 1_000_000)


def pretty(*given: Record) -> list[str]:
    line = formatter("pretty", Terminal(colour=False)).__call__
    return [line(("t", 0), record).decode() for record in given]


def test_pretty_lines_stand_under_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TZ", "UTC")
    time.tzset()
    assert pretty(
        Record(9, 1_700_000_000_123, None, b"no key"),
        Record(10, 1_700_000_000_124, b"key", b"value", (("h", b"x"), ("n", None))),
        Record(11, -1, None, None),
    ) == [
        "t/0@9  2023-11-14 22:13:20.123  no key\n",
        "t/0@10  2023-11-14 22:13:20.124  key  value  {h=x, n=null}\n",
        "t/0@11  -       null\n",
    ]
    monkeypatch.undo()
    time.tzset()


def test_nothing_in_a_record_acts_on_the_terminal() -> None:
    (line,) = pretty(Record(0, 0, b"\x1b[31mkey", "a\r\n\x00\u202e\x9b".encode(), (("\x07", b"\x08"),)))
    assert line.endswith("\\x1b[31mkey  a\\r\\n\\x00\\u202e\\x9b  {\\x07=\\x08}\n")
    assert line[:-1].isprintable()


def test_bytes_that_are_no_text_are_shown_in_hexadecimal_digits() -> None:
    short, long = pretty(Record(0, 0, None, b"\xff\x01"), Record(1, 0, None, b"\xff" * 1000))
    assert short.endswith("  0xff01\n")
    assert long.endswith("  0x" + "ff" * 64 + "... (1,000 bytes)\n")


@pytest.mark.parametrize("timestamp", [2**62, 10**15])
def test_times_beyond_all_calendars(timestamp: int) -> None:
    assert moment_text(timestamp) == f"@{timestamp}"


def test_a_form_of_ones_own() -> None:
    record = Record(5, 7, b"\xffk", b"v", (("h", b"x"), ("n", None)))
    form = formatter(r"{topic}\t{partition} {offset} {timestamp} {key}={value} [{headers}]", Terminal())
    assert form(("t", 3), record) == b"t\t3 5 7 \xffk=v [h=x,n=]\n"
    json_form = formatter('{"value": "{value}"}', Terminal())
    assert json_form(("t", 3), record) == b'{"value": "v"}\n'


def test_values_alone() -> None:
    value = formatter("value", Terminal())
    assert value(("t", 0), Record(0, 0, b"k", b"\xffv")) == b"\xffv\n"
    assert value(("t", 0), Record(0, 0, b"k", None)) == b"\n"


@pytest.mark.parametrize("form", ["", "valu", "{nonsense}", "{key} {nonsense}"])
def test_what_is_no_form(form: str) -> None:
    with pytest.raises(ValueError, match="no field"):
        formatter(form, Terminal())
