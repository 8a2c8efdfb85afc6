"""What may differ between what two tools print that do the same, and why. Everything else must be equal.

A rule reduces both texts to what must be equal. Names need none: both tools meet the same state, or twins of it
(``scene.py``).
"""

from __future__ import annotations

from typing import Final

from compat.commands.comparison import STDERR, STDOUT, Rule
from compat.commands.reductions import (
    EXCEPTION,
    LOGGED,
    TRACE_LINE,
    FlagsOfHelp,
    Replaced,
    SortedBlocks,
    SortedBy,
    SortedItems,
    SortedJson,
    Without,
    WithoutTraces,
)

_ORDER: Final = "GAPS: what Java prints in the order of a hash table is in order"
_TRACES: Final = "GAPS: stack traces are never printed"

RULES = (
    Rule(
        "behind the version of Kafka stands kbroker's own, in parentheses; some tools add the commit there",
        Replaced(r"^(\d+\.\d+\.\d+) \((?:kbroker [\w.]+|Commit:\w+)\)$", r"\1"),
        cases=("*: *version*",),
    ),
    Rule(
        f"{_TRACES}; these are of errors that are told on standard output",
        Replaced(
            rf"^{LOGGED}ERROR .*\n(?:{TRACE_LINE}\n)* \(org\.apache\.kafka\.tools\.TopicCommand\)\n", ""
        ),
        cases=("kafka-topics: *",),
        streams=(STDERR,),
    ),
    Rule(
        f"{_TRACES}; these are of errors that are told on standard output",
        Replaced(rf"^{EXCEPTION}.*\n(?:{TRACE_LINE}\n)*\n?", ""),
        cases=("kafka-consumer-groups: *",),
        streams=(STDERR,),
    ),
    Rule(
        f"{_TRACES}, nor what exceptions were caused by; some are told without their class",
        WithoutTraces(),
    ),
    Rule("GAPS: help texts are our own; their flags are the same", FlagsOfHelp()),
    Rule(
        "Kafka's clients log every attempt to reach a broker, and all that they are refused; the tools tell, too",
        Without(
            rf"{LOGGED}(?:WARN .* \([\w.]+\)"
            r"|ERROR .* \(org\.apache\.kafka\.clients\.(?:Metadata|admin\.[\w.]+|producer\.internals\.Sender)\))"
        ),
        streams=(STDERR,),
    ),
    Rule("lines of a log have times", Replaced(rf"^{LOGGED}", "[TIME] "), streams=(STDERR,)),
    Rule(
        "GAPS: the advertisement of KIP-848 is never printed",
        Without(r"The consumer rebalance protocol \(KIP-848\) is production-ready!.*"),
        streams=(STDERR,),
    ),
    Rule(
        "Java's immutable sets are in another order in each of its processes",
        SortedItems(
            r"(?<=options: ).*|(?<=combination \"\[).*(?=\]\" can't be)|(?<=Valid states are: ).*"
            r"|(?<=Valid types are: ).*|(?<=scenarios: \[).*(?=\])"
        ),
    ),
    Rule(_ORDER, SortedBy(r"\t?Topic: (\S+)\t.*"), cases=("kafka-topics: *", "kafka-reassign-partitions: *")),
    Rule(
        _ORDER,
        SortedBlocks(r"Dynamic configs for "),
        cases=("kafka-configs: all topics", "kafka-configs: groups and client metrics"),
    ),
    Rule(_ORDER, SortedJson("partitions"), cases=("kafka-log-dirs: *",), streams=(STDOUT,)),
    Rule(
        _ORDER,
        SortedBy(r"((?:partition: |Error completing leader election ).*)"),
        cases=("kafka-delete-records: *", "kafka-leader-election: *"),
    ),
    Rule(
        _ORDER,
        SortedItems(r"(?<=for partitions ).*"),
        cases=("kafka-leader-election: *",),
        streams=(STDOUT,),
    ),
    Rule(_ORDER, SortedBy(r"(\* Group .*)"), cases=("kafka-consumer-groups: *",), streams=(STDOUT,)),
    Rule(_ORDER, SortedBy(), cases=("kafka-consumer-groups: all of them*",), streams=(STDOUT,)),
    Rule(
        _ORDER,
        SortedBy(r"(\S+ +\S+ +\d+ +-?\d+|[^ ].*,\d+,\d+|Warn: Partition .*)"),
        cases=("kafka-consumer-groups: reset*",),
        streams=(STDOUT,),
    ),
    Rule(
        "which of several flags that are missing is told, is up to a hash table",
        Replaced(r"error: argument --[\w-]+ is required", "error: argument FLAG is required"),
        cases=("*: flags that are missing",),
    ),
    Rule("topic ids are drawn at random", Replaced(r"TopicId: [\w-]{22}", "TopicId: ID"), twins=True),
    Rule(
        "a transaction goes on between two looks at it",
        Replaced(r"^((?:[^\t]*\t){7})\d+ *\t", r"\1DURATION\t"),
        cases=("kafka-transactions: described",),
    ),
    Rule(
        "producer ids are the broker's to give, and times those of its clock",
        Replaced(r"^\d+( +\t\d+ +\t\d+ +\t\d+ +\t)\d{13}", r"ID\1TIME"),
        cases=("kafka-transactions: *",),
        twins=True,
    ),
    Rule(_ORDER, SortedBy(r"ID +\t(.*)"), cases=("kafka-transactions: *",), twins=True),
    Rule(
        "when it was, and how fast",
        Replaced(r"^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d:\d{3})?, ", r"DATE, "),
        cases=("kafka-consumer-perf-test: *",),
    ),
    Rule(
        "when it was, and how fast; what was read is the same",
        Replaced(
            r"^DATE, \d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d:\d{3})?, (\d+\.\d{4}), \d+\.\d{4}, (\d+), \d+\.\d{4}, "
            r"-?\d+, -?\d+, -?\d+\.\d{4}, -?\d+\.\d{4}$",
            r"DATE, DATE, \1, RATE, \2, RATE, MS, MS, RATE, RATE",
        ),
        cases=("kafka-consumer-perf-test: *",),
    ),
    Rule(
        "how fast it was, and how often that was told",
        Replaced(
            r"(?:^\d+ records sent, \d+\.\d records/sec \(\d+\.\d\d MB/sec\), \d+\.\d ms avg latency, "
            r"\d+\.\d ms max latency\.\n)+",
            "REPORTS\n",
        ),
        cases=("kafka-producer-perf-test: *",),
    ),
    Rule(
        "how fast it was",
        Replaced(
            r"records/sec \(\d+\.\d\d MB/sec\), \d+\.\d\d ms avg latency, \d+\.\d\d ms max latency, "
            r"\d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99\.9th\.$",
            "RATES",
        ),
        cases=("kafka-producer-perf-test: *",),
    ),
    Rule(
        "how fast it was",
        Replaced(r"sent, \d+\.\d{6} RATES", "sent, RATES"),
        cases=("kafka-producer-perf-test: *",),
    ),
)
