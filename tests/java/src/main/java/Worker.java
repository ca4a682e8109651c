import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client, asked by lines of JSON on stdin and answering by lines of JSON on stdout. */
public final class Worker {
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws IOException {
        PrintStream answers = System.out;
        // Whatever the client libraries print goes to the log.
        System.setOut(System.err);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode request = JSON.readTree(line);
            ObjectNode answer = JSON.createObjectNode();
            answer.set("id", request.get("id"));
            try {
                answer.set("result", JSON.valueToTree(carryOut(request)));
            } catch (Exception error) {
                Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
                answer.put("error", cause.getClass().getSimpleName() + ": " + cause.getMessage());
                cause.printStackTrace();
            }
            answers.println(JSON.writeValueAsString(answer));
            answers.flush();
        }
    }

    private static Object carryOut(JsonNode request) throws Exception {
        return switch (request.get("op").asText()) {
            case "produce" -> produce(request);
            case "consume" -> consume(request);
            case "write-lines" -> writeLines(request);
            case "read-lines" -> readLines(request);
            case "drain" -> drain(request);
            default -> {
                Properties settings = settings(request);
                settings.put("default.api.timeout.ms", "20000");
                settings.put("request.timeout.ms", "10000");
                try (Admin admin = Admin.create(settings)) {
                    yield administer(admin, request);
                }
            }
        };
    }

    private static Properties settings(JsonNode request) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", request.get("bootstrap").asText());
        request.path("settings").properties().forEach(entry -> settings.put(entry.getKey(), entry.getValue().asText()));
        return settings;
    }

    private static List<Long> produce(JsonNode request) throws Exception {
        Properties settings = settings(request);
        settings.putIfAbsent("compression.type", request.get("codec").asText());
        settings.putIfAbsent("linger.ms", "20");
        settings.putIfAbsent("delivery.timeout.ms", "40000");
        settings.putIfAbsent("max.block.ms", "20000");
        String topic = request.get("topic").asText();
        int partition = request.get("partition").asInt();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode record : request.get("records")) {
                List<Header> headers = new ArrayList<>();
                record.get("headers").forEach(header -> headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1)))));
                JsonNode stamp = record.get("timestamp");
                Long timestamp = stamp.isNull() ? null : Long.valueOf(stamp.asLong());
                sent.add(producer.send(
                        new ProducerRecord<>(topic, partition, timestamp, bytes(record.get("key")), bytes(record.get("value")), headers)));
            }
            producer.flush();
        }
        List<Long> offsets = new ArrayList<>();
        for (Future<RecordMetadata> outcome : sent) {
            offsets.add(outcome.get().offset());
        }
        return offsets;
    }

    private static ArrayNode consume(JsonNode request) {
        Properties settings = settings(request);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("fetch.max.wait.ms", "100");
        TopicPartition place = new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
        int count = request.get("count").asInt();
        long end = System.nanoTime() + request.get("timeout").asLong() * 1_000_000_000L;
        ArrayNode found = JSON.createArrayNode();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(place));
            consumer.seek(place, request.get("offset").asLong());
            while (found.size() < count) {
                if (System.nanoTime() > end) {
                    throw new IllegalStateException(found.size() + " of " + count + " records in time");
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(500))) {
                    if (found.size() == count) {
                        break;
                    }
                    ObjectNode fields = found.addObject();
                    fields.put("key", text(record.key())).put("value", text(record.value()));
                    fields.put("timestamp", record.timestamp()).put("offset", record.offset());
                    ArrayNode headers = fields.putArray("headers");
                    record.headers().forEach(header -> headers.addArray().add(header.key()).add(text(header.value())));
                }
            }
        }
        return found;
    }

    /** Every line of a file, a key, a separator and a value, becomes a record of partition 0 with one header, `from`. */
    private static Object writeLines(JsonNode request) throws Exception {
        Properties settings = settings(request);
        settings.put("compression.type", request.get("codec").asText());
        settings.put("linger.ms", "5");
        settings.put("batch.size", "262144");
        String topic = request.get("topic").asText();
        int separator = request.get("separator").asText().charAt(0);
        List<Header> headers = List.of(new RecordHeader("from", request.get("header").asText().getBytes(StandardCharsets.UTF_8)));
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
                var lines = new BufferedInputStream(new FileInputStream(request.get("path").asText()), 1 << 20)) {
            var part = new ByteArrayOutputStream();
            byte[] key = null;
            for (int next = lines.read(); next >= 0; next = lines.read()) {
                if (next == separator && key == null) {
                    key = part.toByteArray();
                    part.reset();
                } else if (next != '\n') {
                    part.write(next);
                } else {
                    var record = new ProducerRecord<>(topic, 0, key, part.toByteArray(), headers);
                    producer.send(record, (metadata, error) -> failure.compareAndSet(null, error));
                    key = null;
                    part.reset();
                }
            }
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        return null;
    }

    /** So many records of partition 0 become the lines of a file: timestamp, key, headers and value with a separator between. */
    private static Object readLines(JsonNode request) throws IOException {
        Properties settings = settings(request);
        settings.put("enable.auto.commit", "false");
        TopicPartition place = new TopicPartition(request.get("topic").asText(), 0);
        byte[] separator = request.get("separator").asText().getBytes(StandardCharsets.UTF_8);
        long left = request.get("count").asLong();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                var lines = new BufferedOutputStream(new FileOutputStream(request.get("path").asText()), 1 << 20)) {
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            while (left > 0) {
                var records = consumer.poll(Duration.ofSeconds(10));
                if (records.isEmpty()) {
                    throw new IllegalStateException(left + " lines are missing");
                }
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    lines.write(Long.toString(record.timestamp()).getBytes(StandardCharsets.UTF_8));
                    lines.write(separator);
                    lines.write(record.key());
                    lines.write(separator);
                    String before = "";
                    for (Header header : record.headers()) {
                        lines.write((before + header.key() + "=").getBytes(StandardCharsets.UTF_8));
                        lines.write(header.value());
                        before = ",";
                    }
                    lines.write(separator);
                    lines.write(record.value());
                    lines.write('\n');
                    left -= 1;
                }
            }
        }
        return null;
    }

    /** Reads so many records of partition 0 and drops them; the seconds from the first poll to the last record. */
    private static Double drain(JsonNode request) {
        Properties settings = settings(request);
        settings.put("enable.auto.commit", "false");
        TopicPartition place = new TopicPartition(request.get("topic").asText(), 0);
        long left = request.get("count").asLong();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            long begin = System.nanoTime();
            while (left > 0) {
                int found = consumer.poll(Duration.ofSeconds(20)).count();
                if (found == 0) {
                    throw new IllegalStateException(left + " records are missing");
                }
                left -= found;
            }
            return (System.nanoTime() - begin) / 1e9;
        }
    }

    private static Object administer(Admin admin, JsonNode request) throws Exception {
        String topic = request.path("topic").asText();
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        switch (request.get("op").asText()) {
            case "create" -> {
                NewTopic wanted = new NewTopic(topic, Optional.of(request.get("partitions").asInt()), Optional.empty());
                admin.createTopics(List.of(wanted.configs(texts(request.path("configs"))))).all().get();
                return null;
            }
            case "delete" -> {
                admin.deleteTopics(List.of(topic)).all().get();
                return null;
            }
            case "partitions" -> {
                admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(request.get("count").asInt()))).all().get();
                return null;
            }
            case "list" -> {
                return admin.listTopics().names().get();
            }
            case "describe" -> {
                var description = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
                var partitions = description.partitions().stream()
                        .map(p -> Map.of("partition", p.partition(), "leader", p.leader().id(), "replicas", p.replicas().size(), "isr", p.isr().size()))
                        .toList();
                return Map.of("id", description.topicId().toString(), "internal", description.isInternal(), "partitions", partitions);
            }
            case "cluster" -> {
                var cluster = admin.describeCluster();
                return Map.of("id", cluster.clusterId().get(), "nodes", cluster.nodes().get().size(), "controller", cluster.controller().get().id());
            }
            case "configs" -> {
                Map<String, Map<String, Object>> entries = new TreeMap<>();
                for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
                    entries.put(entry.name(), Map.of("value", String.valueOf(entry.value()), "source", entry.source().name()));
                }
                return entries;
            }
            case "alter" -> {
                Collection<AlterConfigOp> changes = new ArrayList<>();
                texts(request.path("set")).forEach((name, value) -> changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
                request.path("delete").forEach(name -> changes.add(new AlterConfigOp(new ConfigEntry(name.asText(), null), AlterConfigOp.OpType.DELETE)));
                admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
                return null;
            }
            case "offset" -> {
                TopicPartition place = new TopicPartition(topic, request.get("partition").asInt());
                OffsetSpec at = switch (request.get("at").asText()) {
                    case "earliest" -> OffsetSpec.earliest();
                    case "latest" -> OffsetSpec.latest();
                    case "max-timestamp" -> OffsetSpec.maxTimestamp();
                    default -> OffsetSpec.forTimestamp(request.get("at").asLong());
                };
                var found = admin.listOffsets(Map.of(place, at)).partitionResult(place).get();
                return Map.of("offset", found.offset(), "timestamp", found.timestamp());
            }
            case "delete-records" -> {
                TopicPartition place = new TopicPartition(topic, request.get("partition").asInt());
                var before = RecordsToDelete.beforeOffset(request.get("before").asLong());
                return admin.deleteRecords(Map.of(place, before)).lowWatermarks().get(place).get().lowWatermark();
            }
            case "reassign" -> {
                Map<TopicPartition, Optional<NewPartitionReassignment>> wanted = new HashMap<>();
                request.get("to").properties().forEach(entry -> {
                    List<Integer> nodes = new ArrayList<>();
                    entry.getValue().forEach(node -> nodes.add(node.asInt()));
                    Optional<NewPartitionReassignment> target = entry.getValue().isNull() ? Optional.empty() : Optional.of(new NewPartitionReassignment(nodes));
                    wanted.put(new TopicPartition(topic, Integer.parseInt(entry.getKey())), target);
                });
                admin.alterPartitionReassignments(wanted).all().get();
                return null;
            }
            case "reassignments" -> {
                var moving = new TreeMap<String, Object>();
                admin.listPartitionReassignments().reassignments().get().forEach((place, how) -> moving.put(
                        place.toString(),
                        Map.of("replicas", how.replicas(), "adding", how.addingReplicas(), "removing", how.removingReplicas())));
                return moving;
            }
            case "elect" -> {
                ElectionType type = request.path("unclean").asBoolean() ? ElectionType.UNCLEAN : ElectionType.PREFERRED;
                var outcomes = new TreeMap<String, String>();
                admin.electLeaders(type, Set.of(new TopicPartition(topic, request.get("partition").asInt()))).partitions().get().forEach(
                        (place, error) -> outcomes.put(place.toString(), error.map(e -> e.getClass().getSimpleName()).orElse("")));
                return outcomes;
            }
            case "quorum" -> {
                var quorum = admin.describeMetadataQuorum().quorumInfo().get();
                return Map.of(
                        "leader", quorum.leaderId(),
                        "epoch", quorum.leaderEpoch(),
                        "committed", quorum.highWatermark(),
                        "voters", quorum.voters().stream().map(voter -> Map.of("node", voter.replicaId(), "end", voter.logEndOffset())).toList(),
                        "observers", quorum.observers().stream().map(observer -> observer.replicaId()).toList());
            }
            case "unregister" -> {
                admin.unregisterBroker(request.get("node").asInt()).all().get();
                return null;
            }
            case "log-dirs" -> {
                var sizes = new TreeMap<String, Long>();
                int node = admin.describeCluster().nodes().get().iterator().next().id();
                admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node).values().forEach(directory ->
                        directory.replicaInfos().forEach((place, replica) -> sizes.put(place.toString(), replica.size())));
                return sizes;
            }
            default -> throw new IllegalArgumentException("no operation " + request.get("op"));
        }
    }

    private static Map<String, String> texts(JsonNode fields) {
        Map<String, String> map = new TreeMap<>();
        fields.properties().forEach(entry -> map.put(entry.getKey(), entry.getValue().asText()));
        return map;
    }

    private static byte[] bytes(JsonNode field) {
        return field.isNull() ? null : Base64.getDecoder().decode(field.asText());
    }

    private static String text(byte[] data) {
        return data == null ? null : Base64.getEncoder().encodeToString(data);
    }
}
