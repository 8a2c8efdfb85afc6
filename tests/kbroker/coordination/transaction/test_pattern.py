"""The RE2 patterns of ListTransactions. What is an error in RE2/J 1.8 was asked of Apache Kafka 4.4."""

from __future__ import annotations

import pytest

from kbroker.coordination.transaction.pattern import Pattern
from wire.errors import ApiError, ErrorCode

MATCHING = [
    ("", ""), (".*", "anything"), ("a|b", "b"), ("(?:ab)*c", "ababc"), ("a{1,3}", "aaa"), ("a{,2}", "a{,2}"),
    (r"\w+\W\s\S", "ab- c"), ("[[:alpha:]]+", "aZ"), (r"\p{Lu}", "Ä"), (r"\p{Greek}", "λ"), ("(?i)aBc", "AbC"),
    ("^abc$", "abc"), (r"\Qa.b*\E", "a.b*"), (r"\x{1F600}", "😀"), ("(?P<x>a)b", "ab"), ("(?s).", "\n"),
]  # fmt: skip

NOT_MATCHING = [
    ("abc", "abcd"), ("abc", "xabc"), ("a|b", "ab"), (".", "\n"), (r"\d", "٣"), (r"\w", "ä"), ("a$", "a\n"), ("", "a"),
]  # fmt: skip

INVALID = [
    "[", "(", ")", "*", "a**", "a{3,2}", "a{1001}", "(?=x)", "(?!x)", "(?<=x)a", "(?>x)", "\\", "\\1", "\\p{Nonsense}",
    "[z-a]", "((a{100}){100}){100}",
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "text"), MATCHING)
def test_matches_the_whole_text(pattern: str, text: str) -> None:
    assert Pattern(pattern).matches(text)


@pytest.mark.parametrize(("pattern", "text"), NOT_MATCHING)
def test_does_not_match(pattern: str, text: str) -> None:
    assert not Pattern(pattern).matches(text)


@pytest.mark.parametrize("pattern", INVALID)
def test_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ApiError) as caught:
        Pattern(pattern)
    assert caught.value.code is ErrorCode.INVALID_REGULAR_EXPRESSION


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+$b"])
def test_no_pattern_keeps_the_broker_busy(pattern: str) -> None:
    assert not Pattern(pattern).matches("a" * 30_000)
