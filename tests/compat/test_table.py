"""The page of compatibility, from results made up for it."""

from __future__ import annotations

from typing import Any

from compat.contestants import APACHE_KAFKA, KBROKER
from compat.results import FAILED, KNOWN, PASSED, SKIPPED
from compat.table import COMPARED, document

COOPERATIVE = "compat/clients/test_groups.py::test_cooperative"
GZIP = "compat/clients/test_records.py::test_gzip"
ADMIN = "compat/clients/test_admin.py::test_admin"


def entry(outcome: str = PASSED, *, reason: str = "", **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "reason": reason, "duration_s": 1.0, **more}


def of_client(
    feature: str, target: str = KBROKER, outcome: str = PASSED, *, client: str = "kcat", **more: Any
) -> dict[str, Any]:
    return entry(outcome, client=client, client_version="1.7", feature=feature, target=target, **more)


def cells(text: str, label: str) -> list[str]:
    """The cells of the first row that begins so."""
    (row, *_) = (line for line in text.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_a_row_for_each_feature_and_a_column_for_each_client_in_the_registry_s_order() -> None:
    text = document(
        {
            f"{GZIP}[kcat]": of_client("gzip"),
            f"{GZIP}[confluent-kafka]": of_client("gzip", outcome=FAILED, client="confluent-kafka"),
            f"{GZIP}[unheard-of]": of_client("gzip", client="unheard-of"),
        }
    )
    assert cells(text, "") == ["confluent-kafka 1.7", "kcat 1.7", "unheard-of 1.7"]
    assert cells(text, "gzip") == ["✗", "✓", "✓"]
    assert cells(text, "lz4") == ["", "", ""]


def test_a_version_that_is_part_of_the_name_is_not_said_twice() -> None:
    text = document({GZIP: {**of_client("gzip", client="java 4.4.0"), "client_version": "4.4.0"}})
    assert cells(text, "") == ["java 4.4.0"]


def test_what_a_client_cannot_do_has_a_note() -> None:
    skipped = {"reason": "not in this client: its assignors are eager", "outcome": SKIPPED}
    text = document(
        {
            f"{COOPERATIVE}[kafka]": {**of_client("cooperative", APACHE_KAFKA), **skipped},
            f"{COOPERATIVE}[kbroker]": {**of_client("cooperative"), **skipped},
        }
    )
    assert cells(text, "a group that rebalances cooperatively") == ["\N{EN DASH}¹"]
    assert text.count("1. kcat: its assignors are eager") == 1


def test_steps_that_a_client_lacks_are_named_by_reason() -> None:
    without = {"create_topic": "it only looks", "delete_topic": "it only looks", "list_groups": "no groups"}
    text = document({ADMIN: of_client("admin", without=without)})
    (label,) = (line.split("|")[1].strip() for line in text.splitlines() if "✓¹ ²" in line)
    assert label.startswith("topics created")
    assert "1. kcat: without create_topic, delete_topic: it only looks" in text
    assert "2. kcat: without list_groups: no groups" in text


def test_the_worst_of_several_cases_counts() -> None:
    text = document({f"{GZIP}[a]": of_client("gzip"), f"{GZIP}[b]": of_client("gzip", outcome=FAILED)})
    assert cells(text, "gzip") == ["✗"]


def test_every_suite_is_counted_by_broker_and_its_known_differences_are_told() -> None:
    text = document(
        {
            "compat/wire/test_wire.py::test[1]": entry(),
            "compat/wire/test_wire.py::test[2]": entry(KNOWN, reason="no quotas"),
            "compat/wire/test_wire.py::test[3]": entry(KNOWN, reason="no quotas"),
            "compat/wire/test_wire.py::test[4]": entry(FAILED, reason="E assert 1 == 2"),
            GZIP: of_client("gzip"),
            f"{GZIP}[kafka]": of_client("gzip", APACHE_KAFKA),
        }
    )
    wire = "`compat/wire`: answers, field by field"
    assert cells(text, wire) == [COMPARED, "1", "1", "2", "0"]
    assert text.count("| `compat/clients`: clients, feature by feature |") == 2
    assert "- wire: no quotas (2 cases)" in text
    assert "- `compat/wire/test_wire.py::test[4]`: E assert 1 == 2" in text


def test_command_lines_are_counted_by_command() -> None:
    of_topics = {"command": "kafka-topics", "command_lines": 4}
    text = document(
        {
            "compat/commands/test_commands.py::test[1]": {**entry(), **of_topics},
            "compat/commands/test_commands.py::test[2]": {
                **entry(KNOWN, reason="a text"),
                **of_topics,
                "command_lines_differing": 1,
            },
            "compat/commands/test_commands.py::test[3]": entry(),
        }
    )
    assert cells(text, "`kafka-topics`") == ["8", "7", "1"]


def test_the_order_in_which_cases_ran_and_how_long_changes_nothing() -> None:
    results = {f"{GZIP}[{number}]": of_client("gzip", client=f"client {number}") for number in range(3)}
    backwards = {name: {**results[name], "duration_s": 9.0} for name in reversed(results)}
    assert document(results) == document(backwards)
