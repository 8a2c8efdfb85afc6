"""kafka-dump-log on files as brokers write them, whole and damaged; the lines are those of Apache Kafka's tool."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from crc32c import crc32c

from kbroker.tools import dump_log
from kbroker.tools.session import CommandError
from tests.tools.command_line import run_command
from wire.compression import Compression
from wire.internal.aborted_transactions import AbortedTxn
from wire.internal.consumer_offsets import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)
from wire.internal.consumer_protocol import ConsumerProtocolAssignment, ConsumerProtocolSubscription
from wire.internal.producer_snapshot import ProducerSnapshot
from wire.internal.transaction_log import TransactionLogKey, TransactionLogValue
from wire.records import Record, build_batch, build_end_transaction_marker, read_batch_header

BASE = "00000000000000000010"
STAMP = 1_700_000_000_000


def dump(
    capsys: pytest.CaptureFixture[str], *files: Path, flags: tuple[str, ...] = ()
) -> tuple[list[str], list[str]]:
    """The lines on standard output and on standard error."""
    names = ",".join(map(str, files))
    dump_log.dump_files(dump_log.arguments().parse(["--files", names, *flags]))
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def segment(directory: Path) -> tuple[Path, list[bytearray]]:
    """Two batches, the second of an idempotent producer and compressed, and the end of a transaction."""
    batches = [
        build_batch(
            [Record(10, STAMP, None, b"a"), Record(11, STAMP + 5, b"k", None, (("h", b"1"), ("i", None)))],
            base_offset=10,
            partition_leader_epoch=3,
        ),
        build_batch(
            [Record(12, STAMP + 1, b"key", b"value")],
            base_offset=12,
            compression=Compression.LZ4,
            producer_id=7,
            producer_epoch=1,
            base_sequence=9,
            is_transactional=True,
        ),
        build_end_transaction_marker(
            base_offset=13,
            timestamp_ms=STAMP + 2,
            producer_id=7,
            producer_epoch=1,
            is_commit=False,
            coordinator_epoch=4,
        ),
    ]
    path = directory / f"{BASE}.log"
    path.write_bytes(b"".join(batches))
    return path, batches


def test_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, batches = segment(tmp_path)
    crcs = [read_batch_header(batch).crc for batch in batches]
    at = [0, len(batches[0]), len(batches[0]) + len(batches[1])]
    assert dump(capsys, path) == (
        [
            f"Dumping {path}",
            "Log starting offset: 10",
            "baseOffset: 10 lastOffset: 11 count: 2 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 "
            "partitionLeaderEpoch: 3 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty "
            f"position: 0 CreateTime: {STAMP + 5} size: {len(batches[0])} magic: 2 compresscodec: none crc: {crcs[0]} "
            "isvalid: true",
            "baseOffset: 12 lastOffset: 12 count: 1 baseSequence: 9 lastSequence: 9 producerId: 7 producerEpoch: 1 "
            "partitionLeaderEpoch: -1 isTransactional: true isControl: false deleteHorizonMs: OptionalLong.empty "
            f"position: {at[1]} CreateTime: {STAMP + 1} size: {len(batches[1])} magic: 2 compresscodec: lz4 "
            f"crc: {crcs[1]} isvalid: true",
            "baseOffset: 13 lastOffset: 13 count: 1 baseSequence: -1 lastSequence: -1 producerId: 7 producerEpoch: 1 "
            "partitionLeaderEpoch: -1 isTransactional: true isControl: true deleteHorizonMs: OptionalLong.empty "
            f"position: {at[2]} CreateTime: {STAMP + 2} size: {len(batches[2])} magic: 2 compresscodec: none "
            f"crc: {crcs[2]} isvalid: true",
        ],
        [],
    )


def test_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = segment(tmp_path)
    out, err = dump(capsys, path, flags=("--print-data-log",))
    assert [line for line in out if line.startswith("|")] == [
        f"| offset: 10 CreateTime: {STAMP} keySize: -1 valueSize: 1 sequence: -1 headerKeys: [] payload: a",
        f"| offset: 11 CreateTime: {STAMP + 5} keySize: 1 valueSize: -1 sequence: -1 headerKeys: [h,i] key: k",
        f"| offset: 12 CreateTime: {STAMP + 1} keySize: 3 valueSize: 5 sequence: 9 headerKeys: [] key: key "
        "payload: value",
        f"| offset: 13 CreateTime: {STAMP + 2} keySize: 4 valueSize: 6 sequence: -1 headerKeys: [] endTxnMarker: ABORT "
        "coordinatorEpoch: 4",
    ]
    assert err == [f"Non-consecutive offsets in {path}", "  -1 is followed by 10"]
    out, _ = dump(capsys, path, flags=("--deep-iteration",))
    assert [line for line in out if "payload" in line or "key:" in line] == []
    assert len(out) == 2 + 3 + 4
    out, _ = dump(capsys, path, flags=("--print-data-log", "--skip-record-metadata"))
    assert [line for line in out[2:] if not line.startswith("baseOffset")] == [
        "| payload: a",
        "| key: k",
        "| key: key payload: value",
        "",
    ]
    out, _ = dump(capsys, path, flags=("--max-bytes", "200"))
    assert len(out) == 4


def test_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, batches = segment(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(batches[0]) - 1] ^= 1
    path.write_bytes(data[:-3])
    out, _ = dump(capsys, path)
    assert [line.rpartition(" ")[2] for line in out if line.startswith("baseOffset")] == ["false", "true"]
    assert out[-1] == f"Found {len(batches[2]) - 3} invalid bytes at the end of {path.name}"


def test_offset_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, batches = segment(tmp_path)
    index = tmp_path / f"{BASE}.index"
    index.write_bytes(b"")
    assert dump(capsys, index) == ([f"Dumping {index}", f"{index} is empty."], [])
    second = len(batches[0])
    index.write_bytes(struct.pack(">iiii", 2, second, 0, 0))  # and a preallocated rest
    assert dump(capsys, index) == ([f"Dumping {index}", f"offset: 12 position: {second}"], [])
    assert dump(capsys, index, flags=("--verify-index-only",)) == ([f"Dumping {index}"], [])
    index.write_bytes(struct.pack(">iiii", 1, 0, 3, second))
    out, err = dump(capsys, index)
    assert out == [f"Dumping {index}", "offset: 11 position: 0", f"offset: 13 position: {second}"]
    assert err == [f"Mismatches in :{index}", "  Index offset: 13, log offset: 12"]
    assert dump(capsys, index, flags=("--index-sanity-check",))[0][1] == f"{index} passed sanity check."
    index.write_bytes(struct.pack(">ii", 0, 0))
    with pytest.raises(
        CommandError, match="the last offset is 10 which is not greater than the base offset 10"
    ):
        dump(capsys, index, flags=("--index-sanity-check",))


def test_time_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segment(tmp_path)
    index = tmp_path / f"{BASE}.timeindex"
    entry = struct.Struct(">qi")
    index.write_bytes(entry.pack(STAMP + 5, 1) + entry.pack(0, 0))
    assert dump(capsys, index) == ([f"Dumping {index}", f"timestamp: {STAMP + 5} offset: 11"], [])
    index.write_bytes(entry.pack(STAMP + 5, 1) + entry.pack(STAMP, 2) + entry.pack(STAMP + 9, 9))
    _, err = dump(capsys, index, flags=("--verify-index-only",))
    assert err == [
        f"Found timestamp mismatch in :{index}",
        f"  Index timestamp: {STAMP}, log timestamp: {STAMP + 1}",
        f"Found out of order timestamp in :{index}",
        f"  Index timestamp: {STAMP}, Previously indexed timestamp: {STAMP + 5}",
        f"The following indexed offsets are not found in :{index}",
        "Indexed offset: 19, found log offset: -1",
    ]


def test_producer_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = ProducerSnapshot.ProducerEntry
    snapshot = ProducerSnapshot(
        producer_entries=[
            entry(
                producer_id=5,
                epoch=2,
                last_sequence=9,
                last_offset=40,
                offset_delta=3,
                timestamp=STAMP,
                coordinator_epoch=-1,
                current_txn_first_offset=37,
            ),
            entry(
                producer_id=6,
                last_sequence=-1,
                last_offset=-1,
                timestamp=STAMP,
                coordinator_epoch=8,
                current_txn_first_offset=-1,
            ),
        ]
    )
    snapshot.crc = crc32c(snapshot.encode_versioned(1)[6:])
    path = tmp_path / f"{BASE}.snapshot"
    path.write_bytes(snapshot.encode_versioned(1))
    assert dump(capsys, path)[0][1:] == [
        f"producerId: 5 producerEpoch: 2 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong[37] "
        f"lastTimestamp: {STAMP} firstSequence: 6 lastSequence: 9 lastOffset: 40 offsetDelta: 3 timestamp: {STAMP}",
        f"producerId: 6 producerEpoch: 0 coordinatorEpoch: 8 currentTxnFirstOffset: OptionalLong.empty "
        f"lastTimestamp: {STAMP}",
    ]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert dump(capsys, path)[1][0].startswith("Snapshot is corrupt (CRC is no longer valid). Stored crc: ")


def test_transaction_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{BASE}.txnindex"
    aborted = AbortedTxn(producer_id=7, first_offset=12, last_offset=13, last_stable_offset=14)
    path.write_bytes(aborted.encode_versioned(0) * 2)
    assert (
        dump(capsys, path)[0][1:]
        == ["version: 0 producerId: 7 firstOffset: 12 lastOffset: 13 lastStableOffset: 14"] * 2
    )


def test_records_of_internal_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    member = GroupMetadataValue.MemberMetadata(
        member_id="m",
        client_id="c",
        client_host="/h",
        subscription=ConsumerProtocolSubscription(topics=["t"]).encode_versioned(1),
        assignment=ConsumerProtocolAssignment(
            assigned_partitions=[ConsumerProtocolAssignment.TopicPartition(topic="t", partitions=[0, 2])]
        ).encode_versioned(1),
    )
    records = [
        Record(
            0,
            STAMP,
            OffsetCommitKey(group="g", topic="t", partition=3).encode_versioned(),
            OffsetCommitValue(offset=5, metadata="é", commit_timestamp=1).encode_versioned(3),
        ),
        Record(
            1,
            STAMP,
            GroupMetadataKey(group="g").encode_versioned(),
            GroupMetadataValue(protocol_type="consumer", generation=2, members=[member]).encode_versioned(3),
        ),
        Record(2, STAMP, GroupMetadataKey(group="g").encode_versioned(), None),
        Record(3, STAMP, b"\x7f\xff", b""),
    ]
    path = tmp_path / "00000000000000000000.log"
    path.write_bytes(build_batch(records, base_offset=0))
    out, _ = dump(capsys, path, flags=("--offsets-decoder",))
    assert [line.partition(" headerKeys: [] ")[2] for line in out[3:]] == [
        'key: {"type":"1","data":{"group":"g","topic":"t","partition":3}} payload: {"version":"3","data":'
        '{"offset":5,"leaderEpoch":-1,"metadata":"é","commitTimestamp":1}}',
        'key: {"type":"2","data":{"group":"g"}} payload: {"version":"3","data":{"protocolType":"consumer",'
        '"generation":2,"protocol":"","leader":"","currentStateTimestamp":-1,"members":[{"memberId":"m",'
        '"groupInstanceId":null,"clientId":"c","clientHost":"/h","rebalanceTimeout":-1,"sessionTimeout":0,'
        '"subscription":{"topics":["t"],"userData":null,"ownedPartitions":[]},'
        '"assignment":{"assignedPartitions":[{"topic":"t","partitions":[0,2]}],"userData":null}}]}}',
        'key: {"type":"2","data":{"group":"g"}} payload: <DELETE>',
        "key: Unknown record type 32767 at offset 3, skipping.",
    ]
    value = TransactionLogValue(
        producer_id=1,
        producer_epoch=2,
        transaction_timeout_ms=3,
        transaction_status=4,
        transaction_partitions=None,
        transaction_last_update_timestamp_ms=5,
        transaction_start_timestamp_ms=6,
    )
    key = TransactionLogKey(transactional_id="x").encode_versioned()
    path.write_bytes(build_batch([Record(0, STAMP, key, value.encode_versioned(1))], base_offset=0))
    out, _ = dump(capsys, path, flags=("--transaction-log-decoder",))
    assert out[3].partition(" headerKeys: [] ")[2] == (
        'key: {"type":"0","data":{"transactionalId":"x"}} payload: {"version":"1","data":{"producerId":1,'
        '"producerEpoch":2,"transactionTimeoutMs":3,"transactionStatus":"CompleteCommit","transactionPartitions":null,'
        '"transactionLastUpdateTimestampMs":5,"transactionStartTimestampMs":6}}'
    )


def test_exit_codes(tmp_path: Path) -> None:
    path, _ = segment(tmp_path)
    ended = run_command("dump_log", "--files", str(path))
    assert (ended.code, len(ended.out.splitlines())) == (0, 5)
    odd = tmp_path / "leader-epoch-checkpoint"
    odd.write_text("0\n0\n")
    ended = run_command("dump_log", "--files", str(odd))
    assert (ended.code, ended.err) == (0, f"Ignoring unknown file {odd}\n")
    ended = run_command("dump_log", "--files", str(tmp_path / "absent.log"))
    assert ended.code == 1
    ended = run_command("dump_log", "--print-data-log")
    assert ended.code == 1
    assert ended.err.startswith('Missing required argument "[files]"')
