"""Properties of an open log, each against the model (see `storage_model`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

from storage.file_names import LOG_SUFFIX, offset_of_file_name
from storage.log import Log
from storage.producer_entry import ProducerEntry
from storage.transaction_index import AbortedTransaction
from tests.sim.disk import Disk, FileNode
from tests.sim.storage_model import (
    Batch,
    FoundBatch,
    PartitionModel,
    ProducerScan,
    ScannedAbort,
    ScannedProducer,
    Violation,
    find_batches,
)
from tests.sim.storage_paths import directory_at
from wire.records import BatchHeader, iterate_batches

_READ_BYTES = (1, 200, 1000, 1 << 20)


def require(condition: bool, message: str | Callable[[], str]) -> None:
    if not condition:
        raise Violation(message if isinstance(message, str) else message())


def first_relevant_base(log: Log) -> int:
    """The segment that the log start is in. What lies before may be gone or garbage: it is deleted."""
    bases = [segment.base_offset for segment in log.segments]
    return max([base for base in bases if base <= log.log_start_offset], default=bases[0])


def batches_on_disk(disk: Disk, log: Log, *, with_deleted: bool = False) -> list[FoundBatch]:
    """What the segment files hold from the log start's segment (or all) on, past storage's own reading."""
    first = 0 if with_deleted else first_relevant_base(log)
    # Behind a segment's size there may be what a failed append left: the next one overwrites it.
    sizes = {segment.base_offset: segment.size_bytes for segment in log.segments}
    contents = []
    for name, node in sorted(directory_at(disk, log.directory).entries.items()):
        base = offset_of_file_name(name)
        if name.endswith(LOG_SUFFIX) and isinstance(node, FileNode) and base is not None and base >= first:
            contents.append(bytes(node.content[: sizes.get(base)]))
    return find_batches(contents)


def check_log(log: Log, model: PartitionModel, disk: Disk, generator: random.Random, *, now_ms: int) -> None:
    """Everything that must hold of an open log at any time, with what the model knows of it."""
    check_offsets(log, model)
    check_files(log, model, disk)
    check_reads(log, model, generator)
    check_producers(log, model, now_ms)
    check_aborted_transactions(log, model, generator)
    check_epochs(log, model)
    check_times(log, model, generator)


def check_offsets(log: Log, model: PartitionModel) -> None:
    require(log.log_end_offset == model.end, lambda: f"the log ends at {log.log_end_offset}, not {model.end}")
    require(
        log.log_start_offset == model.start,
        lambda: f"the log starts at {log.log_start_offset}, not {model.start}",
    )
    require(
        log.log_start_offset <= log.high_watermark <= log.log_end_offset,
        lambda: f"the high watermark is {log.high_watermark} in {log!r}",
    )
    require(
        log.recovery_point <= log.log_end_offset, lambda: f"recovery point {log.recovery_point} in {log!r}"
    )
    require(
        log.last_stable_offset <= log.high_watermark, "the last stable offset is above the high watermark"
    )


def check_files(log: Log, model: PartitionModel, disk: Disk) -> None:
    """Segments as the log sees them are the files that there are, and hold the model's bytes."""
    entries = directory_at(disk, log.directory).entries
    bases = sorted(offset_of_file_name(name) or 0 for name in entries if name.endswith(LOG_SUFFIX))
    require(
        [segment.base_offset for segment in log.segments] == bases,
        lambda: f"segments {log.segments} but files {bases}",
    )
    found = b"".join([each.data for each in batches_on_disk(disk, log)])
    expected = model.retained(first_relevant_base(log))
    if any(batch.data is None for batch in expected):
        raise Violation("the model does not know its own bytes")
    data = b"".join([batch.data or b"" for batch in expected])
    require(found == data, lambda: f"{len(found)} bytes in the files, {len(data)} were appended")


def check_reads(log: Log, model: PartitionModel, generator: random.Random) -> None:
    """Reading from the start to the end gives all batches; reading anywhere gives the one that is there."""
    expected = [batch for batch in model.batches if batch.last_offset >= model.start and not batch.is_lost]
    offset, parts = model.start, []
    max_bytes = generator.choice(_READ_BYTES)
    while True:
        result = log.read(offset, max_bytes, max_offset=model.end)
        if result.records is None:
            break
        with result.records as records:
            data = records.read()
        last = None
        for position, header in iterate_batches(data):
            parts.append(data[position : position + header.size_bytes])
            last = header
        require(last is not None, f"a read at {offset} gives no whole batch")
        assert last is not None
        offset = last.next_offset
    found, whole = b"".join(parts), b"".join([batch.data or b"" for batch in expected])
    require(found == whole, lambda: f"reading gives {len(parts)} batches, {len(expected)} are there")
    for _ in range(min(len(expected), 3)):
        batch = generator.choice(expected)
        offset = max(generator.randint(batch.base_offset, batch.last_offset), model.start)
        result = log.read(offset, 1, max_offset=model.end)
        require(result.records is not None, f"nothing at offset {offset}")
        assert result.records is not None
        with result.records as records:
            require(records.read() == batch.data, f"the read at {offset} gives another batch")


def check_producers(log: Log, model: PartitionModel, now_ms: int) -> None:
    """The log's producers are those of a full scan: of all that ever was, or of what the files still hold."""
    everything = model.scan
    retained = everything
    if model.has_lost(log.first_segment_base_offset):
        retained = ProducerScan(model.retained(log.first_segment_base_offset))
    is_cut = retained is not everything or model.cleanable_to > 0 or model.was_moved
    for producer_id, entry in log.active_producers.items():
        if producer_id in model.uncertain:
            continue
        known = everything.producers.get(producer_id)
        require(known is not None, f"producer {producer_id} never wrote here")
        assert known is not None
        choices = [known]
        if producer_id in retained.producers:
            choices.append(retained.producers[producer_id])
        problem = _difference(entry, choices, producer_id in model.forgotten, was_cut=is_cut)
        if problem:
            raise Violation(f"producer {producer_id}: {problem}: {entry!r} instead of {choices}")
        if entry.transaction_first_offset != known.transaction_first_offset:
            model.uncertain.add(producer_id)  # the log knows what its files say, which is less
    for producer_id, producer in retained.producers.items():
        idle = now_ms - producer.last_timestamp >= log_expiration_ms(log)
        if producer_id not in log.active_producers and producer_id not in model.forgotten | model.uncertain:
            require(idle and producer.transaction_first_offset < 0, f"producer {producer_id} is forgotten")
    open_offsets = [
        entry.transaction_first_offset
        for entry in log.active_producers.values()
        if entry.transaction_first_offset >= 0
    ]
    if log.high_watermark == log.log_end_offset:
        first = max(min(open_offsets), log.log_start_offset) if open_offsets else None
        require(
            log.first_unstable_offset == first,
            f"first unstable offset {log.first_unstable_offset}, not {first}",
        )


def log_expiration_ms(log: Log) -> int:
    return log._state.producers.producer_id_expiration_ms


def _difference(
    entry: ProducerEntry, choices: list[ScannedProducer], may_be_forgotten: bool, *, was_cut: bool
) -> str:
    if entry.producer_epoch not in [each.epoch for each in choices]:
        return "epoch"
    firsts = [each.transaction_first_offset for each in choices]
    if entry.transaction_first_offset not in firsts and not (
        was_cut and 0 <= firsts[0] < entry.transaction_first_offset
    ):
        return "open transaction"
    if may_be_forgotten:
        return ""
    # Where batches are gone, the latest state found may be one that was read without them.
    if not was_cut and entry.coordinator_epoch not in [each.coordinator_epoch for each in choices]:
        return "coordinator epoch"
    if not was_cut and entry.last_timestamp not in [each.last_timestamp for each in choices]:
        return "last timestamp"
    batches = [(each.last_sequence, each.last_offset, each.offset_delta) for each in entry.batches]
    if was_cut:
        del batches[:-1]  # the ones before are those that were left when the log was last read
    for each in choices:
        if batches == each.batches[-len(batches) :] if batches else not each.batches:
            return ""
    return "batches"


def check_aborted_transactions(log: Log, model: PartitionModel, generator: random.Random) -> None:
    """The transaction indexes tell what a scan tells."""
    first_base = log.first_segment_base_offset
    allowed = {(each.producer_id, each.last_offset): {each.first_offset} for each in model.scan.aborted}
    required = [
        each
        for each in model.scan.aborted
        if each.last_offset >= model.start
        and each.producer_id not in model.uncertain
        and any(_is_in(batch, each) for batch in model.batches)
    ]
    stable = {each.last_offset: {each.last_stable_offset} for each in model.scan.aborted}
    if model.has_lost(first_base):
        rest = ProducerScan(model.retained(first_base)).aborted
        known = {each.last_offset for each in rest}
        required = [each for each in required if each.last_offset in known]
        for each in rest:
            allowed.setdefault((each.producer_id, each.last_offset), set()).add(each.first_offset)
            stable.setdefault(each.last_offset, set()).add(each.last_stable_offset)
    found = log.aborted_transactions(model.start, model.end)
    is_cut = (
        model.cleanable_to > 0 or model.was_moved
    )  # then first offsets are those of the first batch that was left at some time
    for entry in found:
        if entry.producer_id in model.uncertain:
            continue
        firsts = allowed.get((entry.producer_id, entry.last_offset), set())
        is_right = entry.first_offset in firsts or (
            is_cut and bool(firsts) and min(firsts) < entry.first_offset < entry.last_offset
        )
        if not is_right:
            raise Violation(f"{entry} was not aborted, but {firsts}")
        if not is_cut and not model.forgotten | model.uncertain:
            require(
                entry.last_stable_offset in stable[entry.last_offset], f"{entry}: {stable[entry.last_offset]}"
            )
    markers = [entry.last_offset for entry in found]
    missing = [each for each in required if each.last_offset not in markers]
    require(not missing, f"aborted transactions {missing} are not in the index, only {found}")
    require(markers == sorted(set(markers)), f"the transaction index is out of order: {found}")
    if found:
        _check_aborted_in_read(log, model, generator.randrange(model.start, model.end), found)


def _check_aborted_in_read(
    log: Log, model: PartitionModel, offset: int, aborted: list[AbortedTransaction]
) -> None:
    """A read tells of all aborted transactions of which it gives records."""
    result = log.read(offset, 300, max_offset=model.end, with_aborted_transactions=True)
    if result.records is None:
        return
    with result.records as records:
        headers = [header for _, header in iterate_batches(records.read())]
    told = result.aborted_transactions or []
    for each in aborted:
        scanned = ScannedAbort(*each)
        if any(header.record_count and _is_in_headers(header, scanned) for header in headers):
            require(each in told, f"a read at {offset} does not tell of {each}")


def _is_in_headers(header: BatchHeader, transaction: ScannedAbort) -> bool:
    return (
        header.producer_id == transaction.producer_id
        and header.is_transactional
        and transaction.first_offset <= header.base_offset < transaction.last_offset
    )


def _is_in(batch: Batch, transaction: ScannedAbort) -> bool:
    """Whether a batch with records belongs to the transaction. (Compaction may have taken them all.)"""
    return (
        batch.producer_id == transaction.producer_id
        and transaction.first_offset <= batch.base_offset < transaction.last_offset
        and bool(batch.records)
        and not batch.is_lost
    )


def check_epochs(log: Log, model: PartitionModel) -> None:
    """Which epoch an offset has, and where epochs end: before the first batch of a later one, behind their last."""
    start = max(model.start, model.start_highest)
    batches = [
        batch
        for batch in model.batches
        if batch.last_offset >= start and not batch.is_lost and (batch.records or batch.producer_id >= 0)
    ]
    for batch in batches:
        found = log.epoch_for_offset(max(batch.base_offset, start))
        require(found == batch.epoch, f"epoch {found} at offset {batch.base_offset}, not {batch.epoch}")
    for batch, after in pairwise(batches):
        if batch.epoch < after.epoch:
            epoch, end = log.end_offset_for_epoch(batch.epoch)
            require(
                epoch == batch.epoch and batch.next_offset <= end <= after.base_offset,
                f"epoch {batch.epoch} ends as {epoch} at {end}, not in {batch.next_offset}..{after.base_offset}",
            )
    if batches:
        latest = log.latest_epoch
        require(latest is not None and latest >= batches[-1].epoch, f"the latest epoch is {latest}")
        if latest == batches[-1].epoch:
            answer = log.end_offset_for_epoch(latest)
            require(tuple(answer) == (latest, model.end), f"the latest epoch ends at {answer}")


def check_times(log: Log, model: PartitionModel, generator: random.Random) -> None:
    """Searching by timestamp finds the first record that a scan finds."""
    records = list(model.records_from(model.start))
    if not records:
        return
    for target in (generator.choice(records)[0] + generator.randint(-1, 1), max(records)[0] + 1):
        expected = next((each for each in records if each[0] >= target), None)
        found = log.fetch_offset_by_timestamp(target)
        if found != expected:
            raise Violation(f"timestamp {target} is found at {found}, not {expected}")
    newest = max(timestamp for timestamp, _, _ in records)
    expected = next(each for each in records if each[0] == newest)
    found = log.fetch_offset_by_timestamp(-3)
    require(found == expected, lambda: f"the latest timestamp is found at {found}, not {expected}")
