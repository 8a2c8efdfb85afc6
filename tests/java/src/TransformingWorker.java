import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import sun.misc.Signal;

/**
 * A worker of the kill test, as {@code tests.kill.transactions.worker} is one, with Apache Kafka's own client, which
 * speaks transactions v2 (KIP-890): {@code java TransformingWorker HOST:PORT TRANSACTIONAL_ID LIFE PARTITIONS SEED}.
 *
 * <p>Until SIGTERM it copies every number of the input to both outputs, in transactions, some of which it aborts. A
 * line is printed for each transaction whose end was acknowledged. Ends with 3 when it was fenced, with 4 when its
 * client is past use for another reason.
 */
public final class TransformingWorker {
    private static final String INPUT = "numbers";
    private static final List<String> OUTPUTS = List.of("left", "right");
    private static final int FENCED = 3;
    private static final int FATAL = 4;
    private static final double ABORT_SHARE = 0.1;

    private final String transactionalId;
    private final int life;
    private final int partitions;
    private final Random chance;
    private final KafkaProducer<byte[], String> producer;
    private final KafkaConsumer<byte[], String> consumer;
    private volatile boolean stopping;
    private int serial;

    private TransformingWorker(String[] arguments) {
        transactionalId = arguments[1];
        life = Integer.parseInt(arguments[2]);
        partitions = Integer.parseInt(arguments[3]);
        chance = new Random(Long.parseLong(arguments[4]));
        Properties common = new Properties();
        common.put("bootstrap.servers", arguments[0]);
        common.put("reconnect.backoff.ms", "20");
        common.put("reconnect.backoff.max.ms", "100");
        Properties producing = new Properties();
        producing.putAll(common);
        producing.put("transactional.id", transactionalId);
        producing.put("transaction.timeout.ms", "60000");
        producing.put("batch.size", "256");
        producer = new KafkaProducer<>(producing, new ByteArraySerializer(), new StringSerializer());
        Properties consuming = new Properties();
        consuming.putAll(common);
        consuming.put("group.id", "transformers");
        consuming.put("isolation.level", "read_committed");
        consuming.put("auto.offset.reset", "earliest");
        consuming.put("enable.auto.commit", "false");
        consuming.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor");
        consuming.put("session.timeout.ms", "3000");
        consuming.put("heartbeat.interval.ms", "300");
        consuming.put("max.poll.interval.ms", "10000");
        consuming.put("max.poll.records", "100");
        consumer = new KafkaConsumer<>(consuming, new ByteArrayDeserializer(), new StringDeserializer());
    }

    public static void main(String[] arguments) {
        TransformingWorker worker = new TransformingWorker(arguments);
        Signal.handle(new Signal("TERM"), signal -> worker.stopping = true);
        // Whatever threads the clients still have, the answer is this one.
        Runtime.getRuntime().halt(worker.run());
    }

    private int run() {
        try {
            repeat(producer::initTransactions);
            consumer.subscribe(List.of(INPUT));
            while (!stopping) {
                ConsumerRecords<byte[], String> records = consumer.poll(Duration.ofMillis(100));
                if (!records.isEmpty()) {
                    transact(records);
                }
            }
            consumer.close();
            return 0;
        } catch (ProducerFencedException | InvalidProducerEpochException fenced) {
            System.err.println("ended: " + fenced);
            return FENCED;
        } catch (KafkaException | IllegalStateException fatal) {
            System.err.println("ended: " + fatal + ", because of " + fatal.getCause());
            return fatal.getCause() instanceof ProducerFencedException
                            || fatal.getCause() instanceof InvalidProducerEpochException
                    ? FENCED
                    : FATAL;
        }
    }

    private void transact(ConsumerRecords<byte[], String> records) {
        serial++;
        String transaction = transactionalId + "-" + life + "-" + serial;
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        try {
            producer.beginTransaction();
            int size = records.count() * OUTPUTS.size();
            for (ConsumerRecord<byte[], String> record : records) {
                String output = record.value() + "|" + transaction + "|" + size;
                for (int shift = 0; shift < OUTPUTS.size(); shift++) {
                    int target = (record.partition() + shift) % partitions;
                    producer.send(new ProducerRecord<>(OUTPUTS.get(shift), target, null, output));
                }
                offsets.put(
                        new TopicPartition(INPUT, record.partition()), new OffsetAndMetadata(record.offset() + 1));
            }
            producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
            if (chance.nextDouble() < ABORT_SHARE) {
                abort(records.partitions(), transaction);
                return;
            }
            repeat(producer::commitTransaction);
            System.out.println("committed " + transaction);
        } catch (ProducerFencedException fenced) {
            throw fenced;
        } catch (KafkaException failure) {
            // Either the transaction can be aborted, or this says that the client is past use.
            abort(records.partitions(), transaction);
        }
    }

    /** Abort, and go back to what the group has committed, which the transaction must not have moved. */
    private void abort(Set<TopicPartition> touched, String transaction) {
        repeat(producer::abortTransaction);
        System.out.println("aborted " + transaction);
        Map<TopicPartition, OffsetAndMetadata> committed = new HashMap<>();
        repeat(() -> committed.putAll(consumer.committed(touched)));
        for (TopicPartition partition : touched) {
            if (consumer.assignment().contains(partition)) {
                OffsetAndMetadata position = committed.get(partition);
                consumer.seek(partition, position == null ? 0 : position.offset());
            }
        }
    }

    /** A call that timed out may be repeated, and is not decided until it has returned. */
    private static void repeat(Runnable call) {
        while (true) {
            try {
                call.run();
                return;
            } catch (TimeoutException again) {
                System.err.println("again after " + again);
            }
        }
    }
}
