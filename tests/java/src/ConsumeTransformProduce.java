import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TransactionDescription;
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
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.IntegerDeserializer;
import org.apache.kafka.common.serialization.IntegerSerializer;

/**
 * Transactions with Apache Kafka's own client: {@code java ConsumeTransformProduce HOST:PORT RUN_ID}.
 *
 * <p>Reads numbers from one topic and writes their doubles to another, a transaction for each poll, every third of
 * which it aborts; then fences a producer. Prints a line for each thing that it found right, ends with 1 at the first
 * that is wrong. {@code PAUSE} on the output asks whoever started it to restart the broker and to send a line back.
 */
public final class ConsumeTransformProduce {
    private static final int PARTITIONS = 3;
    private static final int NUMBERS = 600;
    private static final Duration DEADLINE = Duration.ofSeconds(40);

    private final String bootstrapServers;
    private final String source;
    private final String target;
    private final String group;
    private final String transactionalId;

    private ConsumeTransformProduce(String bootstrapServers, String runId) {
        this.bootstrapServers = bootstrapServers;
        source = "java-source-" + runId;
        target = "java-target-" + runId;
        group = "java-group-" + runId;
        transactionalId = "java-transactional-" + runId;
    }

    public static void main(String[] arguments) throws Exception {
        ConsumeTransformProduce run = new ConsumeTransformProduce(arguments[0], arguments[1]);
        boolean pauses = arguments.length > 2 && arguments[2].equals("pause");
        run.prepare();
        run.transform(pauses);
        run.checkOutput();
        run.checkOffsets();
        run.checkFencing();
        System.out.println("DONE");
    }

    private Properties common() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrapServers);
        properties.put("reconnect.backoff.max.ms", "200");
        return properties;
    }

    private KafkaProducer<Integer, byte[]> producer(String id) {
        Properties properties = common();
        if (id != null) {
            properties.put("transactional.id", id);
        }
        properties.put("compression.type", "lz4");
        KafkaProducer<Integer, byte[]> producer =
                new KafkaProducer<>(properties, new IntegerSerializer(), new ByteArraySerializer());
        if (id != null) {
            producer.initTransactions();
        }
        return producer;
    }

    private KafkaConsumer<Integer, byte[]> consumer(String isolation) {
        Properties properties = common();
        properties.put("group.id", group);
        properties.put("isolation.level", isolation);
        properties.put("auto.offset.reset", "earliest");
        properties.put("enable.auto.commit", "false");
        properties.put("max.poll.records", "40");
        return new KafkaConsumer<>(properties, new IntegerDeserializer(), new ByteArrayDeserializer());
    }

    private void prepare() throws Exception {
        try (Admin admin = Admin.create(common())) {
            admin.createTopics(List.of(
                            new NewTopic(source, PARTITIONS, (short) 1), new NewTopic(target, PARTITIONS, (short) 1)))
                    .all()
                    .get();
            FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
            System.out.println("features " + features.finalizedFeatures());
        }
        try (KafkaProducer<Integer, byte[]> filler = producer(null)) {
            for (int number = 0; number < NUMBERS; number++) {
                filler.send(new ProducerRecord<>(source, number % PARTITIONS, number, new byte[100]));
            }
        }
        System.out.println("filled");
    }

    private void transform(boolean pauses) throws Exception {
        int done = 0;
        int transactions = 0;
        long deadline = System.nanoTime() + DEADLINE.toNanos();
        try (KafkaProducer<Integer, byte[]> producer = producer(transactionalId);
                KafkaConsumer<Integer, byte[]> consumer = consumer("read_committed")) {
            consumer.subscribe(List.of(source));
            while (done < NUMBERS) {
                check(System.nanoTime() < deadline, "only " + done + " were transformed in time");
                ConsumerRecords<Integer, byte[]> records = consumer.poll(Duration.ofMillis(500));
                if (records.isEmpty()) {
                    continue;
                }
                producer.beginTransaction();
                for (ConsumerRecord<Integer, byte[]> record : records) {
                    producer.send(
                            new ProducerRecord<>(target, record.partition(), 2 * record.key(), record.value()));
                }
                producer.sendOffsetsToTransaction(behind(records), consumer.groupMetadata());
                transactions++;
                if (pauses && transactions == 5) {
                    producer.flush();
                    System.out.println("PAUSE");
                    check(System.in.read() >= 0, "nobody restarted the broker");
                }
                if (transactions % 3 == 2) {
                    // What has not been sent yet would not be sent any more, and nothing be there to be hidden.
                    producer.flush();
                    producer.abortTransaction();
                    for (TopicPartition partition : records.partitions()) {
                        consumer.seek(partition, records.records(partition).get(0).offset());
                    }
                } else {
                    producer.commitTransaction();
                    done += records.count();
                }
            }
        }
        check(done == NUMBERS, done + " were transformed");
        System.out.println("transformed in " + transactions + " transactions");
    }

    private static Map<TopicPartition, OffsetAndMetadata> behind(ConsumerRecords<Integer, byte[]> records) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (ConsumerRecord<Integer, byte[]> record : records) {
            offsets.put(
                    new TopicPartition(record.topic(), record.partition()),
                    new OffsetAndMetadata(record.offset() + 1));
        }
        return offsets;
    }

    private Map<Integer, List<Integer>> read(String isolation) {
        Map<Integer, List<Integer>> found = new TreeMap<>();
        List<TopicPartition> partitions = new ArrayList<>();
        for (int partition = 0; partition < PARTITIONS; partition++) {
            partitions.add(new TopicPartition(target, partition));
            found.put(partition, new ArrayList<>());
        }
        try (KafkaConsumer<Integer, byte[]> consumer = consumer(isolation)) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long deadline = System.nanoTime() + DEADLINE.toNanos();
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                check(System.nanoTime() < deadline, "the output could not be read to its end");
                for (ConsumerRecord<Integer, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    found.get(record.partition()).add(record.key());
                }
            }
        }
        return found;
    }

    private void checkOutput() {
        Map<Integer, List<Integer>> committed = read("read_committed");
        for (int partition = 0; partition < PARTITIONS; partition++) {
            List<Integer> expected = new ArrayList<>();
            for (int number = partition; number < NUMBERS; number += PARTITIONS) {
                expected.add(2 * number);
            }
            check(committed.get(partition).equals(expected), "output " + partition + " is " + committed.get(partition));
        }
        int everything = read("read_uncommitted").values().stream().mapToInt(List::size).sum();
        check(everything > NUMBERS, "nothing was aborted");
        System.out.println("output is the input, exactly once; " + (everything - NUMBERS) + " aborted records");
    }

    private void checkOffsets() throws Exception {
        try (Admin admin = Admin.create(common())) {
            Map<TopicPartition, OffsetAndMetadata> committed =
                    admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
            for (int partition = 0; partition < PARTITIONS; partition++) {
                long offset = committed.get(new TopicPartition(source, partition)).offset();
                check(offset == NUMBERS / PARTITIONS, "partition " + partition + " is committed up to " + offset);
            }
            Set<String> ids = Collections.singleton(transactionalId);
            TransactionDescription described =
                    admin.describeTransactions(ids).description(transactionalId).get();
            System.out.println("offsets are the input's end; transaction is " + described.state());
        }
    }

    private void checkFencing() throws InterruptedException {
        try (KafkaProducer<Integer, byte[]> first = producer(transactionalId)) {
            first.beginTransaction();
            first.send(new ProducerRecord<>(target, 0, -1, new byte[1]));
            first.flush();
            try (KafkaProducer<Integer, byte[]> second = producer(transactionalId)) {
                second.beginTransaction();
                second.send(new ProducerRecord<>(target, 0, -2, new byte[1]));
                second.commitTransaction();
                boolean fenced = false;
                try {
                    first.send(new ProducerRecord<>(target, 0, -3, new byte[1])).get();
                    first.commitTransaction();
                } catch (ProducerFencedException | InvalidProducerEpochException refused) {
                    fenced = true;
                } catch (KafkaException | ExecutionException refused) {
                    fenced = refused.getCause() instanceof ProducerFencedException
                            || refused.getCause() instanceof InvalidProducerEpochException;
                }
                check(fenced, "the first producer was not fenced");
            } finally {
                first.close(Duration.ZERO);
            }
        }
        List<Integer> first = read("read_committed").get(0);
        check(first.get(first.size() - 1) == -2 && !first.contains(-1) && !first.contains(-3), "a zombie has written");
        System.out.println("fenced");
    }

    private static void check(boolean right, String what) {
        if (!right) {
            System.out.println("WRONG: " + what);
            System.exit(1);
        }
    }
}
