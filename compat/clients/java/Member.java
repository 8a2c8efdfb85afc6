import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.TopicPartition;

/** A consumer, in a group or not, with the records that it was given and nobody has asked for yet. */
final class Member implements ConsumerRebalanceListener {
    final KafkaConsumer<byte[], byte[]> consumer;
    final String group;
    final List<List<TopicPartition>> assigned = new ArrayList<>();
    final List<List<TopicPartition>> revoked = new ArrayList<>();
    private final Deque<ConsumerRecord<byte[], byte[]>> waiting = new ArrayDeque<>();
    private final Map<TopicPartition, OffsetAndMetadata> handedOut = new HashMap<>();

    Member(KafkaConsumer<byte[], byte[]> consumer, String group) {
        this.consumer = consumer;
        this.group = group;
    }

    List<ConsumerRecord<byte[], byte[]>> poll(int count, long timeoutMs) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.nanoTime() + timeoutMs * 1_000_000L;
        long left = timeoutMs;
        while (waiting.size() < count && left >= 0) {
            consumer.poll(Duration.ofMillis(left)).forEach(waiting::add);
            left = (deadline - System.nanoTime()) / 1_000_000L;
        }
        while (records.size() < count && !waiting.isEmpty()) {
            ConsumerRecord<byte[], byte[]> record = waiting.poll();
            TopicPartition partition = new TopicPartition(record.topic(), record.partition());
            handedOut.put(partition, new OffsetAndMetadata(record.offset() + 1));
            records.add(record);
        }
        return records;
    }

    void commit() {
        consumer.commitSync(new HashMap<>(handedOut));
    }

    long seekToTime(TopicPartition partition, long timestampMs) {
        OffsetAndTimestamp found =
                consumer.offsetsForTimes(Collections.singletonMap(partition, timestampMs)).get(partition);
        forget(Collections.singleton(partition));
        if (found == null) {
            consumer.seekToEnd(Collections.singleton(partition));
            return -1;
        }
        consumer.seek(partition, found.offset());
        return found.offset();
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        assigned.add(new ArrayList<>(partitions));
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        revoked.add(new ArrayList<>(partitions));
        forget(partitions);
    }

    /** Somebody else goes on with these partitions from what was committed. */
    private void forget(Collection<TopicPartition> partitions) {
        waiting.removeIf(record -> partitions.contains(new TopicPartition(record.topic(), record.partition())));
        handedOut.keySet().removeAll(partitions);
    }
}
