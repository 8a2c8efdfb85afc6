"""A byte-level fuzzer over the files of a log directory: `python -m tests.storage.fuzz_log_files --seeds A:B`.

Each seed writes a log, damages bytes of some of its files, and opens it again. Whatever the damage:

* nothing raises but what the interface promises;
* every record that is read back with a valid CRC is one that was written, at the offset it was written at
  (unless the damage hit the offset itself, which no CRC covers);
* damage to anything but the segment files loses no record; damage at the end of the log loses none before it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from storage.log_config import LogConfig
from storage.producer_append import AppendOrigin
from tests.storage.support import START_MS, LogHarness, batch, marker, replicated
from wire.errors import ApiError, ErrorCode, ProtocolError
from wire.records import Record, crc_matches, iterate_batches, read_records

_UNPROTECTED = (*range(8), *range(12, 16))  # base offset and leader epoch of a batch


@dataclass
class Written:
    """A batch in its file."""

    base_offset: int
    size: int
    file: str
    position: int
    records: list[Record]


class Failure(AssertionError):
    """The log broke a promise."""


class Round:
    """One seed."""

    def __init__(self, seed: int, path: Path) -> None:
        self.random = random.Random(seed)
        self.batches: list[Written] = []
        self.damaged_offsets: set[int] = set()
        self.damage: list[str] = []
        self.first_log_damage: dict[str, int] = {}
        config = LogConfig(
            segment_bytes=self.random.choice([300, 1000, 100_000]),
            index_interval_bytes=self.random.choice([1, 200, 4096]),
            retention_ms=-1,
        )
        self.harness = LogHarness(path, config)

    def run(self) -> None:
        self.write()
        clean = self.random.random() < 0.5
        if clean:
            self.harness.log.close()
            self.harness.checkpoint()
        else:
            if self.random.random() < 0.5:
                self.harness.log.flush(self.random.randrange(self.harness.log.log_end_offset + 1))
            self.harness.checkpoint()
            self.harness.log.abandon()
        for _ in range(self.random.choice([1, 1, 1, 2, 5])):
            self.hurt()
        try:
            self.harness.log = self.harness._open(clean=clean)
        except ApiError as error:
            if error.code is ErrorCode.INCONSISTENT_TOPIC_ID and "partition.metadata" in str(self.damage):
                return
            raise
        self.check("after the damage", clean=clean)
        self.live_on()
        self.harness.reopen_after_kill()
        self.check("after another start", clean=False)

    # Writing

    def write(self) -> None:
        log = self.harness.log
        sequence, open_transaction = 0, False
        for number in range(self.random.randrange(1, 40)):
            kind = self.random.random()
            values = [b"%d.%d" % (number, index) for index in range(self.random.randrange(1, 5))]
            epoch = number // 9
            if kind < 0.4:
                log.append_as_leader(batch(*values, timestamp=START_MS + number), epoch)
            elif kind < 0.7:
                transactional = open_transaction or self.random.random() < 0.5
                records = batch(
                    *values, producer_id=7, producer_epoch=0, sequence=sequence, transactional=transactional
                )
                log.append_as_leader(records, epoch)
                sequence, open_transaction = sequence + len(values), transactional
            elif kind < 0.85:
                records = marker(7, commit=self.random.random() < 0.5)
                log.append_as_leader(records, epoch, origin=AppendOrigin.COORDINATOR)
                open_transaction = False
            elif kind < 0.95:
                gap = self.random.randrange(3)
                log.append_as_follower(replicated(log.log_end_offset + gap, *values, leader_epoch=epoch))
            else:
                log.roll()
        log.flush()
        for segment in log.segments:
            path = Path(segment.handle.path)
            data = path.read_bytes()
            for position, header in iterate_batches(data):
                records = read_records(data, position, decompressed_bytes_max=1 << 20)
                self.batches.append(
                    Written(header.base_offset, header.size_bytes, path.name, position, records)
                )

    # Damage

    def hurt(self) -> None:
        files = sorted(path for path in self.harness.path.iterdir() if path.is_file())
        path = self.random.choice(files)
        data = bytearray(path.read_bytes())
        kind = self.random.choice(["flip", "flip", "flip", "truncate", "append", "zero", "swap"])
        position = self.random.randrange(len(data) + 1)
        end = min(len(data), position + self.random.randrange(1, 80))
        touched = range(position, end)
        if kind == "flip":
            if position == len(data):
                return
            data[position] ^= self.random.randrange(1, 256)
            touched = range(position, position + 1)
        elif kind == "truncate":
            touched = range(position, len(data))
            del data[position:]
        elif kind == "append":
            position = len(data)
            touched = range(0)
            data += self.random.choice([self.random.randbytes(50), bytes(200), bytes(data[:100])])
        elif kind == "zero":
            data[position:end] = bytes(end - position)
        else:
            data[position:end] = self.random.randbytes(end - position)
        path.write_bytes(data)
        self.damage.append(f"{kind} {path.name} at {position}")
        if path.suffix == ".log":
            first = self.first_log_damage.get(path.name, position)
            self.first_log_damage[path.name] = min(first, position)
            for each in self.batches:
                if each.file == path.name and any(each.position + field in touched for field in _UNPROTECTED):
                    self.damaged_offsets.add(each.base_offset)

    # Checking

    def check(self, when: str, *, clean: bool) -> None:
        found = self.read_back()
        originals = {record.offset: record for each in self.batches for record in each.records}
        contents = {(record.timestamp, record.value) for record in originals.values()}
        moved = set(range(0))
        for each in self.batches:
            if each.base_offset in self.damaged_offsets:
                moved.update(record.offset for record in each.records)
        for record in found:
            if (record.timestamp, record.value) not in contents:
                raise Failure(f"{when}: invented {record}; {self.damage}")
            original = originals.get(record.offset)
            if original != record and not moved:
                raise Failure(f"{when}: {record} is not what was at its offset; {self.damage}")
        offsets = {record.offset for record in found}
        for each in self.must_survive(clean=clean):
            for record in each.records:
                if record.offset not in offsets:
                    raise Failure(f"{when}: lost offset {record.offset}; {self.damage}")

    def must_survive(self, *, clean: bool) -> list[Written]:
        """The batches that the damage gives no reason to lose."""
        survivors: list[Written] = []
        for each in self.batches:
            damage = self.first_log_damage.get(each.file)
            if damage is not None and damage < each.position + each.size:
                break
            last = survivors[-1] if survivors else each
            # Rubbish at the end of a segment costs what follows, unless it follows without a gap.
            rubbish_before = last.file != each.file and last.file in self.first_log_damage
            if rubbish_before and last.records[-1].offset + 1 != each.base_offset:
                break
            survivors.append(each)
        if self.damaged_offsets and survivors:
            # A batch that claims a wrong offset may drag down the one before or push out those behind.
            survivors = [each for each in survivors if each.base_offset < min(self.damaged_offsets)][:-1]
        return survivors

    def read_back(self) -> list[Record]:
        log = self.harness.log
        found: list[Record] = []
        offset = log.log_start_offset
        while offset < log.log_end_offset:
            next_offset = offset + 1
            try:
                result = log.read(
                    offset, self.random.choice([1, 300, 100_000]), max_offset=log.log_end_offset
                )
            except ApiError as error:
                if error.code is not ErrorCode.CORRUPT_MESSAGE:
                    raise
                offset = next_offset
                continue
            if result.records is None:
                break
            with result.records as records:
                data = records.read()
            try:
                for position, header in iterate_batches(data):
                    if crc_matches(data, position, header) and header.record_count > 0:
                        found += [
                            record
                            for record in read_records(data, position, decompressed_bytes_max=1 << 20)
                            if record.offset >= offset
                        ]
                    next_offset = max(next_offset, header.next_offset)
            except ProtocolError:
                pass
            offset = next_offset
        return found

    def live_on(self) -> None:
        """The log takes appends, searches, truncations and retention, or refuses them properly."""
        log = self.harness.log
        for timestamp in (START_MS, START_MS + 20, -3):
            self.attempt(lambda: log.fetch_offset_by_timestamp(timestamp))  # noqa: B023
        self.attempt(lambda: log.aborted_transactions(0, log.log_end_offset))
        log.update_high_watermark(log.log_end_offset)
        assert log.last_stable_offset <= log.log_end_offset
        value = b"later %d" % self.random.randrange(1000)
        before = log.log_end_offset
        info = self.attempt(lambda: log.append_as_leader(batch(value), 99))
        if info is not None:
            record = Record(before, START_MS, b"key", value)
            self.batches.append(Written(before, 0, "later", 0, [record]))
        log.update_config(replace(self.harness.config, retention_bytes=1 << 40))
        self.attempt(log.delete_old_segments)
        self.attempt(log.flush)
        self.harness.checkpoint()

    def attempt(self, action: object) -> object:
        try:
            return action()  # type: ignore[operator]
        except ApiError as error:
            if error.code not in (ErrorCode.CORRUPT_MESSAGE, ErrorCode.KAFKA_STORAGE_ERROR):
                raise
            return None


def run_seed(seed: int, path: Path) -> None:
    """Failure, or anything else that it raises, is a bug."""
    this = Round(seed, path)
    try:
        this.run()
    finally:
        this.harness.log.abandon()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:1000", help="first:last (exclusive)")
    first, last = (int(part) for part in parser.parse_args().seeds.split(":"))
    directory = Path(tempfile.mkdtemp(prefix="fuzz-log-files-"))
    failures = 0
    for seed in range(first, last):
        path = directory / str(seed)
        try:
            run_seed(seed, path)
        except Exception as error:
            failures += 1
            print(f"seed {seed}: {type(error).__name__}: {error}")
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(directory)
    print(f"{last - first} seeds, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
