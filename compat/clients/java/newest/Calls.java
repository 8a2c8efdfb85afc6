import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.utils.internals.AppInfoParser;

/** What the oldest client calls by another name, or cannot do. */
final class Calls {
    /** Feature, or operation of the driver, and why this client cannot. */
    static final Map<String, String> UNSUPPORTED = Map.of();

    private Calls() {}

    static String version() {
        return AppInfoParser.getVersion();
    }

    static List<String> groups(AdminClient admin) throws ExecutionException, InterruptedException {
        List<String> groups = new ArrayList<>();
        admin.listGroups().all().get().forEach(group -> groups.add(group.groupId()));
        return groups;
    }

    static TopicDescription describeTopic(AdminClient admin, String topic)
            throws ExecutionException, InterruptedException {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    static void alterConfig(AdminClient admin, ConfigResource resource, Map<String, String> changes)
            throws ExecutionException, InterruptedException {
        Collection<AlterConfigOp> operations = new ArrayList<>();
        changes.forEach((key, value) ->
                operations.add(new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET)));
        admin.incrementalAlterConfigs(Map.of(resource, operations)).all().get();
    }

    static void sendOffsets(Producer<?, ?> producer, Map<TopicPartition, OffsetAndMetadata> offsets, Member member) {
        producer.sendOffsetsToTransaction(offsets, member.consumer.groupMetadata());
    }

    static void memberSettings(Map<String, Object> settings, String assignor, String instanceId) {
        String suffix = assignor.equals("cooperative") ? "CooperativeStickyAssignor" : "RangeAssignor";
        settings.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + suffix);
        settings.put("group.protocol", "classic");
        if (instanceId != null) {
            settings.put("group.instance.id", instanceId);
        }
    }
}
