import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The Java client, told what to do in lines of JSON: {@code java Driver FEATURE...}.
 *
 * <p>{@code compat/clients/driver.py} has the words. Every named feature is there but for those in {@code Calls}.
 */
public final class Driver {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final long EARLIEST = -2;
    private static final long LATEST = -1;

    private final List<String> features;
    private final Map<String, AdminClient> admins = new HashMap<>();
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();
    private final Map<String, Member> consumers = new HashMap<>();

    private Driver(List<String> features) {
        this.features = features;
    }

    public static void main(String[] arguments) throws IOException {
        PrintStream answers = System.out;
        System.setOut(System.err);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        Driver driver = new Driver(List.of(arguments));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            answers.println(JSON.writeValueAsString(driver.answer(JSON.readTree(line))));
            answers.flush();
        }
        driver.close();
    }

    private ObjectNode answer(JsonNode request) {
        ObjectNode answer = JSON.createObjectNode();
        answer.set("id", request.get("id"));
        try {
            JsonNode result = carryOut(request.get("do").asText(), request);
            answer.set("result", result == null ? JSON.createObjectNode() : result);
        } catch (Exception failed) {
            Throwable cause = failed instanceof ExecutionException ? failed.getCause() : failed;
            cause.printStackTrace();
            Errors error = Errors.forException(cause);
            boolean known = error != Errors.UNKNOWN_SERVER_ERROR;
            answer.put("error", known ? error.name() : cause.getClass().getSimpleName());
            answer.put("message", String.valueOf(cause.getMessage()));
        }
        return answer;
    }

    /** Null for "done, and nothing to say". */
    private JsonNode carryOut(String what, JsonNode request) throws ExecutionException, InterruptedException {
        switch (what) {
            case "hello":
                return hello();
            case "create_topic":
                return createTopic(request);
            case "create_partitions":
                admin(request).createPartitions(Collections.singletonMap(
                        text(request, "topic"), NewPartitions.increaseTo(request.get("partitions").asInt()))).all().get();
                return null;
            case "list_topics":
                return JSON.valueToTree(admin(request).listTopics().names().get());
            case "describe_topic":
                return describeTopic(request);
            case "describe_config":
                return describeConfig(request);
            case "alter_config":
                Calls.alterConfig(admin(request), topicResource(request), texts(request.get("config")));
                return null;
            case "delete_topic":
                admin(request).deleteTopics(Collections.singleton(text(request, "topic"))).all().get();
                return null;
            case "list_groups":
                return JSON.valueToTree(Calls.groups(admin(request)));
            case "delete_group":
                admin(request).deleteConsumerGroups(Collections.singleton(text(request, "group"))).all().get();
                return null;
            case "producer":
                return producer(request);
            case "send":
                return send(request);
            case "begin":
                producerOf(request).beginTransaction();
                return null;
            case "commit_transaction":
                producerOf(request).commitTransaction();
                return null;
            case "abort":
                producerOf(request).abortTransaction();
                return null;
            case "send_offsets":
                Calls.sendOffsets(producerOf(request), offsets(request.get("offsets")), consumerOf(request));
                return null;
            case "close_producer":
                producers.remove(text(request, "producer")).close();
                return null;
            case "consumer":
                return consumer(request);
            case "poll":
                return poll(request);
            case "seek_to_time":
                TopicPartition partition = new TopicPartition(text(request, "topic"), request.get("partition").asInt());
                long found = consumerOf(request).seekToTime(partition, request.get("timestamp_ms").asLong());
                return JSON.createObjectNode().put("offset", found);
            case "commit":
                consumerOf(request).commit();
                return null;
            case "rebalances":
                return rebalances(consumerOf(request));
            case "close_consumer":
                consumers.remove(text(request, "consumer")).consumer.close();
                return null;
            default:
                throw new IllegalArgumentException("no such thing to do: " + what);
        }
    }

    private ObjectNode hello() {
        ObjectNode answer = JSON.createObjectNode();
        answer.put("client", "java").put("version", Calls.version()).put("language", "Java");
        ArrayNode supported = answer.putArray("features");
        features.stream().filter(one -> !Calls.UNSUPPORTED.containsKey(one)).forEach(supported::add);
        answer.set("unsupported", JSON.valueToTree(Calls.UNSUPPORTED));
        return answer;
    }

    // Administration

    private AdminClient admin(JsonNode request) {
        return admins.computeIfAbsent(text(request, "bootstrap"), bootstrap ->
                AdminClient.create(Collections.<String, Object>singletonMap("bootstrap.servers", bootstrap)));
    }

    private JsonNode createTopic(JsonNode request) throws ExecutionException, InterruptedException {
        int partitions = request.get("partitions").asInt();
        short replicationFactor = (short) request.get("replication_factor").asInt();
        NewTopic topic = new NewTopic(text(request, "topic"), partitions, replicationFactor);
        if (request.hasNonNull("config")) {
            topic.configs(texts(request.get("config")));
        }
        admin(request).createTopics(Collections.singleton(topic)).all().get();
        return null;
    }

    private JsonNode describeTopic(JsonNode request) throws ExecutionException, InterruptedException {
        ArrayNode answer = JSON.createArrayNode();
        for (TopicPartitionInfo one : Calls.describeTopic(admin(request), text(request, "topic")).partitions()) {
            ObjectNode partition = answer.addObject();
            partition.put("partition", one.partition());
            partition.put("leader", one.leader() == null ? -1 : one.leader().id());
            ids(partition.putArray("replicas"), one.replicas());
            ids(partition.putArray("in_sync"), one.isr());
        }
        return answer;
    }

    private static void ids(ArrayNode into, Collection<Node> nodes) {
        nodes.forEach(node -> into.add(node.id()));
    }

    private static ConfigResource topicResource(JsonNode request) {
        return new ConfigResource(ConfigResource.Type.TOPIC, text(request, "topic"));
    }

    private JsonNode describeConfig(JsonNode request) throws ExecutionException, InterruptedException {
        ConfigResource resource = topicResource(request);
        ObjectNode answer = JSON.createObjectNode();
        for (ConfigEntry entry :
                admin(request).describeConfigs(Collections.singleton(resource)).all().get().get(resource).entries()) {
            answer.put(entry.name(), entry.value());
        }
        return answer;
    }

    // Producers

    private JsonNode producer(JsonNode request) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", text(request, "bootstrap"));
        settings.put("acks", request.path("acks").asText("all"));
        settings.put("compression.type", request.path("compression").asText("none"));
        settings.put("enable.idempotence", request.path("idempotent").asBoolean());
        if (request.hasNonNull("request_bytes_max")) {
            settings.put("max.request.size", request.get("request_bytes_max").asInt());
        }
        boolean transactional = request.hasNonNull("transactional_id");
        if (transactional) {
            settings.put("transactional.id", text(request, "transactional_id"));
            settings.put("enable.idempotence", true);
        }
        KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        producers.put(text(request, "name"), producer);
        if (transactional) {
            producer.initTransactions();
        }
        return null;
    }

    private JsonNode send(JsonNode request) throws ExecutionException, InterruptedException {
        KafkaProducer<byte[], byte[]> producer = producerOf(request);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (JsonNode line : request.get("records")) {
            Integer partition = line.hasNonNull("partition") ? (Integer) line.get("partition").asInt() : null;
            Long timestamp = line.hasNonNull("timestamp_ms") ? (Long) line.get("timestamp_ms").asLong() : null;
            ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                    text(line, "topic"), partition, timestamp, bytes(line.get("key")), bytes(line.get("value")));
            for (JsonNode header : line.path("headers")) {
                record.headers().add(header.get(0).asText(), bytes(header.get(1)));
            }
            sent.add(producer.send(record));
        }
        producer.flush();
        ArrayNode answer = JSON.createArrayNode();
        for (Future<RecordMetadata> one : sent) {
            RecordMetadata metadata = one.get();
            ObjectNode place = answer.addObject();
            place.put("partition", metadata.partition());
            place.put("offset", metadata.hasOffset() ? metadata.offset() : -1);
        }
        return answer;
    }

    private static Map<TopicPartition, OffsetAndMetadata> offsets(JsonNode lines) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode line : lines) {
            offsets.put(partition(line), new OffsetAndMetadata(line.get("offset").asLong()));
        }
        return offsets;
    }

    // Consumers

    private JsonNode consumer(JsonNode request) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", text(request, "bootstrap"));
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", request.path("isolation").asText("read_uncommitted"));
        if (request.hasNonNull("fetch_bytes_max")) {
            settings.put("max.partition.fetch.bytes", request.get("fetch_bytes_max").asInt());
            settings.put("fetch.max.bytes", request.get("fetch_bytes_max").asInt());
        }
        String group = request.hasNonNull("group") ? text(request, "group") : null;
        if (group != null) {
            settings.put("group.id", group);
            copy(request, "session_timeout_ms", settings, "session.timeout.ms");
            copy(request, "heartbeat_interval_ms", settings, "heartbeat.interval.ms");
            String instanceId = request.hasNonNull("instance_id") ? text(request, "instance_id") : null;
            Calls.memberSettings(settings, request.path("assignor").asText("eager"), instanceId);
        }
        Member member = new Member(
                new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer()), group);
        consumers.put(text(request, "name"), member);
        if (group != null) {
            List<String> topics = new ArrayList<>();
            request.get("topics").forEach(topic -> topics.add(topic.asText()));
            member.consumer.subscribe(topics, member);
        } else {
            assign(member.consumer, request.get("assign"));
        }
        return null;
    }

    private static void assign(KafkaConsumer<byte[], byte[]> consumer, JsonNode lines) {
        Map<TopicPartition, Long> positions = new HashMap<>();
        lines.forEach(line -> positions.put(partition(line), line.get("offset").asLong()));
        consumer.assign(positions.keySet());
        positions.forEach((partition, offset) -> {
            if (offset == EARLIEST) {
                consumer.seekToBeginning(Collections.singleton(partition));
            } else if (offset == LATEST) {
                consumer.seekToEnd(Collections.singleton(partition));
            } else {
                consumer.seek(partition, offset);
            }
        });
    }

    private JsonNode poll(JsonNode request) {
        Member member = consumerOf(request);
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode lines = answer.putArray("records");
        for (ConsumerRecord<byte[], byte[]> record :
                member.poll(request.get("count").asInt(), request.get("timeout_ms").asLong())) {
            ObjectNode line = lines.addObject();
            line.put("topic", record.topic()).put("partition", record.partition()).put("offset", record.offset());
            line.put("key", record.key()).put("value", record.value()).put("timestamp_ms", record.timestamp());
            ArrayNode headers = line.putArray("headers");
            for (Header header : record.headers()) {
                headers.addArray().add(header.key()).add(header.value());
            }
        }
        answer.set("assignment", partitions(member.consumer.assignment()));
        return answer;
    }

    private static JsonNode rebalances(Member member) {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode assigned = answer.putArray("assigned");
        member.assigned.forEach(one -> assigned.add(partitions(one)));
        ArrayNode revoked = answer.putArray("revoked");
        member.revoked.forEach(one -> revoked.add(partitions(one)));
        return answer;
    }

    // Lines

    private static ArrayNode partitions(Collection<TopicPartition> partitions) {
        ArrayNode answer = JSON.createArrayNode();
        partitions.forEach(one -> answer.addArray().add(one.topic()).add(one.partition()));
        return answer;
    }

    private static TopicPartition partition(JsonNode line) {
        return new TopicPartition(text(line, "topic"), line.get("partition").asInt());
    }

    private KafkaProducer<byte[], byte[]> producerOf(JsonNode request) {
        return producers.get(text(request, "producer"));
    }

    private Member consumerOf(JsonNode request) {
        return consumers.get(text(request, "consumer"));
    }

    private static void copy(JsonNode request, String name, Map<String, Object> settings, String setting) {
        if (request.hasNonNull(name)) {
            settings.put(setting, request.get(name).asInt());
        }
    }

    private static String text(JsonNode line, String name) {
        return line.get(name).asText();
    }

    private static Map<String, String> texts(JsonNode line) {
        Map<String, String> found = new HashMap<>();
        line.fields().forEachRemaining(field -> found.put(field.getKey(), field.getValue().asText()));
        return found;
    }

    private static byte[] bytes(JsonNode base64) {
        try {
            return base64 == null || base64.isNull() ? null : base64.binaryValue();
        } catch (IOException wrong) {
            throw new IllegalArgumentException(wrong);
        }
    }

    private void close() {
        consumers.values().forEach(member -> member.consumer.close());
        producers.values().forEach(KafkaProducer::close);
        admins.values().forEach(AdminClient::close);
    }
}
