"""How the text of a config value is read, checked and written."""

from __future__ import annotations

import contextlib
import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbroker.config.definition import (
    ConfigDefinition,
    ConfigError,
    ConfigRegistry,
    ConfigType,
    java_double_text,
)
from kbroker.config.validators import (
    Between,
    ConfigValue,
    GzipLevel,
    ListOf,
    Matching,
    NonEmpty,
    OneOf,
    ThrottledReplicas,
    Validator,
    at_least,
)


def key(type: ConfigType, validator: Validator | None = None) -> ConfigDefinition:
    return ConfigDefinition("some.key", type, None, "For tests.", validator)


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        (ConfigType.BOOLEAN, "TRUE", True),
        (ConfigType.BOOLEAN, " false ", False),
        (ConfigType.INT, " 7 ", 7),
        (ConfigType.INT, "+7", 7),
        (ConfigType.INT, "-2147483648", -(2**31)),
        (ConfigType.SHORT, "32767", 32767),
        (ConfigType.LONG, "9223372036854775807", 2**63 - 1),
        (ConfigType.DOUBLE, "5e-1", 0.5),
        (ConfigType.DOUBLE, ".5", 0.5),
        (ConfigType.DOUBLE, "0.5d", 0.5),
        (ConfigType.STRING, " text ", "text"),
        (ConfigType.CLASS, "com.example.Thing", "com.example.Thing"),
        (ConfigType.PASSWORD, "secret", "secret"),
        (ConfigType.LIST, "", ()),
        (ConfigType.LIST, " a , b,c ", ("a", "b", "c")),
        (ConfigType.LIST, "delete, delete", ("delete",)),
        (ConfigType.LIST, "a,", ("a", "")),
    ],
)
def test_text_is_read_as_kafka_reads_it(type: ConfigType, text: str, value: object) -> None:
    assert key(type).parse(text) == value


@pytest.mark.parametrize(
    ("type", "text"),
    [
        (ConfigType.BOOLEAN, "yes"),
        (ConfigType.BOOLEAN, "1"),
        (ConfigType.BOOLEAN, ""),
        (ConfigType.INT, ""),
        (ConfigType.INT, "1.0"),
        (ConfigType.INT, "1_000"),
        (ConfigType.INT, "0x10"),
        (ConfigType.INT, "\u0663"),  # a digit, but not an ASCII one
        (ConfigType.INT, "2147483648"),
        (ConfigType.INT, "9" * 5000),
        (ConfigType.SHORT, "32768"),
        (ConfigType.LONG, "9223372036854775808"),
        (ConfigType.DOUBLE, "half"),
        (ConfigType.DOUBLE, "1_0"),
        (ConfigType.DOUBLE, ""),
    ],
)
def test_text_of_another_type_is_refused(type: ConfigType, text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^Invalid value .* for configuration some\.key: (Not a number|Expected value)"
    ):
        key(type).parse(text)


def test_error_is_one_line_with_key_value_and_what_is_allowed() -> None:
    with pytest.raises(ConfigError) as caught:
        key(ConfigType.INT, at_least(5)).parse("4")
    assert str(caught.value) == "Invalid value 4 for configuration some.key: Value must be at least 5"
    with pytest.raises(ConfigError) as caught:
        key(ConfigType.BOOLEAN).parse("a\nb")
    assert "\n" not in str(caught.value)


def test_error_never_shows_a_password() -> None:
    with pytest.raises(ConfigError) as caught:
        key(ConfigType.PASSWORD, OneOf("right")).parse("hunter2")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in str(caught.value.value)


@pytest.mark.parametrize(
    ("validator", "accepted", "refused"),
    [
        (at_least(0), [0, 10**12], [-1]),
        (Between(1, 3), [1, 3], [0, 4]),
        (Between(0, 1), [math.nan], [1.5]),
        (Between(None, 3), [-5, 3], [4]),
        (GzipLevel(), [-1, 1, 9], [0, 10, -2]),
        (OneOf("a", "b"), ["a"], ["A", "c", ""]),
        (OneOf("A", ignore_case=True), ["a", "A"], ["b"]),
        (ListOf("compact", "delete"), [(), ("delete",), ("compact", "delete")], [("x",), ("delete", "")]),
        (ListOf(empty_allowed=False), [("anything",)], [(), ("",)]),
        (NonEmpty(), ["x"], [""]),
        (Matching("a+", "as"), ["aa", ("a", "aaa")], ["b", "ab", ("a", "b")]),
        (
            ThrottledReplicas(),
            [(), ("*",), ("0:1", "1:2"), ("0:1", "")],
            [("*", "0:1"), ("0",), ("a:b",)],
        ),
    ],
)
def test_validators(validator: Validator, accepted: list[ConfigValue], refused: list[ConfigValue]) -> None:
    assert [value for value in accepted if validator.refusal(value) is not None] == []
    refusals = [validator.refusal(value) for value in refused]
    assert all(refusal is not None and refusal.reason for refusal in refusals), refusals


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.5, "0.5"),
        (0.0, "0.0"),
        (1.0, "1.0"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (-2.5e10, "-2.5E10"),
        (sys.float_info.max, "1.7976931348623157E308"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_doubles_are_written_as_java_writes_them(number: float, text: str) -> None:
    assert java_double_text(number) == text


@given(st.floats(allow_nan=False))
def test_a_written_double_reads_back_as_itself(number: float) -> None:
    assert key(ConfigType.DOUBLE).parse(java_double_text(number)) == number


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_written_integer_reads_back_as_itself(number: int) -> None:
    definition = key(ConfigType.LONG)
    assert definition.parse(str(definition.text_of(number))) == number


@given(st.text(max_size=30))
def test_any_text_is_either_read_or_refused_with_a_config_error(text: str) -> None:
    for type in ConfigType:
        with contextlib.suppress(ConfigError):
            key(type).parse(text)


def test_values_are_written_as_kafka_writes_them() -> None:
    assert key(ConfigType.BOOLEAN).text_of(True) == "true"
    assert key(ConfigType.LIST).text_of(("a", "b")) == "a,b"
    assert key(ConfigType.LIST).text_of(()) == ""
    assert key(ConfigType.STRING).text_of(None) is None


def test_a_registry_knows_its_keys_in_order_and_refuses_a_second_declaration() -> None:
    first, second = key(ConfigType.INT), ConfigDefinition("other.key", ConfigType.INT, 1, "For tests.")
    registry = ConfigRegistry((first, second))
    assert list(registry) == [first, second]
    assert list(registry.names()) == ["some.key", "other.key"]
    assert registry["other.key"] is second
    assert registry.get("missing") is None and "missing" not in registry
    with pytest.raises(AssertionError, match="declared twice"):
        ConfigRegistry((first, first))
