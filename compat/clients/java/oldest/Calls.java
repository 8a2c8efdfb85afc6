import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.utils.AppInfoParser;

/** What the newest client calls by another name, and what this one cannot do yet. */
final class Calls {
    /** Feature, or operation of the driver, and why this client cannot. */
    static final Map<String, String> UNSUPPORTED = Map.of(
            "cooperative", "the client has cooperative rebalancing (KIP-429) since 2.4",
            "static", "the client has static membership (KIP-345) since 2.3");

    private Calls() {}

    static String version() {
        return AppInfoParser.getVersion();
    }

    static List<String> groups(AdminClient admin) throws ExecutionException, InterruptedException {
        List<String> groups = new ArrayList<>();
        admin.listConsumerGroups().all().get().forEach(group -> groups.add(group.groupId()));
        return groups;
    }

    static TopicDescription describeTopic(AdminClient admin, String topic)
            throws ExecutionException, InterruptedException {
        return admin.describeTopics(Collections.singleton(topic)).all().get().get(topic);
    }

    /** AlterConfigs replaces everything (KIP-133), so what was set already is said again. */
    static void alterConfig(AdminClient admin, ConfigResource resource, Map<String, String> changes)
            throws ExecutionException, InterruptedException {
        Map<String, String> all = new LinkedHashMap<>();
        for (ConfigEntry entry : admin.describeConfigs(Collections.singleton(resource)).all().get().get(resource).entries()) {
            if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) {
                all.put(entry.name(), entry.value());
            }
        }
        all.putAll(changes);
        Collection<ConfigEntry> entries = new ArrayList<>();
        all.forEach((key, value) -> entries.add(new ConfigEntry(key, value)));
        admin.alterConfigs(Collections.singletonMap(resource, new Config(entries))).all().get();
    }

    static void sendOffsets(Producer<?, ?> producer, Map<TopicPartition, OffsetAndMetadata> offsets, Member member) {
        producer.sendOffsetsToTransaction(offsets, member.group);
    }

    static void memberSettings(Map<String, Object> settings, String assignor, String instanceId) {
        if (!assignor.equals("eager") || instanceId != null) {
            throw new IllegalArgumentException("see UNSUPPORTED");
        }
    }
}
