import java.io.BufferedWriter;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Keeps writing numbered records through Kafka's own client, idempotent with acks=all, until standard input ends.
 *
 * <p>{@code Recorder BOOTSTRAP TOPIC NAME FIRST-NUMBER RECORDS-A-SECOND}. What becomes of each record goes to standard output as JSON
 * lines, a history that {@code tidelog sim history} judges.
 */
public final class Recorder {
    private static final int PADDING = 100;
    private static volatile boolean isOver;
    private static BufferedWriter out;

    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        String name = arguments[2];
        long number = Long.parseLong(arguments[3]);
        long rate = Long.parseLong(arguments[4]);
        out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 16);
        Thread watcher = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    // Only its end counts.
                }
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            } finally {
                isOver = true;
            }
        });
        watcher.setDaemon(true);
        watcher.start();
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        settings.put("linger.ms", "2");
        settings.put("retry.backoff.ms", "20");
        settings.put("reconnect.backoff.ms", "10");
        settings.put("reconnect.backoff.max.ms", "200");
        settings.put("request.timeout.ms", "10000");
        settings.put("delivery.timeout.ms", "60000");
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            long begin = System.nanoTime();
            long sent = 0;
            while (!isOver) {
                long due = (System.nanoTime() - begin) / 1_000 * rate / 1_000_000;
                for (; sent < due; sent++, number++) {
                    send(producer, topic, name, number, (int) (number % partitions));
                }
                flush();
                Thread.sleep(5);
            }
        }
        out.flush();
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, String name, long number, int partition) {
        String place = topic + "-" + partition;
        tell("{\"process\":\"" + name + "\",\"type\":\"invoke\",\"f\":\"send\",\"partition\":\"" + place + "\",\"value\":" + number + "}");
        byte[] value = (number + " " + ".".repeat(PADDING)).getBytes(StandardCharsets.UTF_8);
        String begin = "{\"process\":\"" + name + "\",\"f\":\"send\",\"value\":" + number;
        producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, error) -> {
            if (error == null) {
                String offset = metadata.hasOffset() ? ",\"offset\":" + metadata.offset() : "";
                tell(begin + ",\"type\":\"ok\"" + offset + "}");
            } else {
                // The client does not say whether it was stored.
                tell(begin + ",\"type\":\"info\",\"error\":\"" + error.getClass().getSimpleName() + "\"}");
            }
        });
    }

    private static synchronized void flush() throws IOException {
        out.flush();
    }

    private static synchronized void tell(String line) {
        try {
            out.write(line);
            out.write('\n');
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
