// Throughput through librdkafka, as a C program has it:
//   rdkafka produce BOOTSTRAP TOPIC RECORDS BYTES PARTITIONS [name=value...]
//   rdkafka consume BOOTSTRAP TOPIC RECORDS BYTES PARTITIONS [name=value...]
// Records go round robin to the partitions. Prints seconds, and this process's CPU seconds, as one line of JSON. The
// seconds of a producer end with the last acknowledgement.

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static long acknowledged, failed;

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return use.ru_utime.tv_sec + use.ru_stime.tv_sec + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client, (void)opaque;
    if (message->err) {
        if (!failed++) fprintf(stderr, "%s\n", rd_kafka_err2str(message->err));
    } else {
        acknowledged++;
    }
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) fail(error);
}

static void produce(rd_kafka_t *client, const char *topic_name, long records, size_t bytes, int partitions) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, topic_name, NULL);
    char *payload = malloc(bytes);
    // Text that does not repeat: what a codec would make of it is not measured here.
    unsigned state = 12345;
    for (size_t i = 0; i < bytes; i++) payload[i] = 'a' + ((state = state * 1103515245 + 12345) >> 16) % 26;
    for (long i = 0; i < records; i++) {
        while (rd_kafka_produce(topic, i % partitions, RD_KAFKA_MSG_F_COPY, payload, bytes, NULL, 0, NULL) == -1) {
            if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL) fail(rd_kafka_err2str(rd_kafka_last_error()));
            rd_kafka_poll(client, 10);
        }
        if (i % 64 == 0) rd_kafka_poll(client, 0);
    }
    rd_kafka_flush(client, 120000);
    if (failed || acknowledged != records) fail("not every record was acknowledged");
}

static void consume(rd_kafka_t *client, const char *topic_name, long records, int partitions) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, topic_name, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    for (int i = 0; i < partitions; i++) rd_kafka_consume_start_queue(topic, i, RD_KAFKA_OFFSET_BEGINNING, queue);
    rd_kafka_message_t *messages[1000];
    double idle_since = now();
    for (long seen = 0; seen < records;) {
        ssize_t count = rd_kafka_consume_batch_queue(queue, 100, messages, 1000);
        for (ssize_t i = 0; i < count; i++) {
            if (messages[i]->err && messages[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) fail(rd_kafka_message_errstr(messages[i]));
            seen += !messages[i]->err;
            rd_kafka_message_destroy(messages[i]);
        }
        if (count > 0) idle_since = now();
        if (now() - idle_since > 60) fail("nothing more arrives");
    }
}

int main(int count, char **arguments) {
    if (count < 7) fail("rdkafka produce|consume BOOTSTRAP TOPIC RECORDS BYTES PARTITIONS [name=value...]");
    int producing = !strcmp(arguments[1], "produce");
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", arguments[2]);
    if (producing) rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    for (int i = 7; i < count; i++) {
        char *equals = strchr(arguments[i], '=');
        if (!equals) fail("a setting is name=value");
        *equals = 0;
        set(conf, arguments[i], equals + 1);
    }
    char error[512];
    rd_kafka_t *client = rd_kafka_new(producing ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (!client) fail(error);
    double begin = now();
    long records = atol(arguments[4]);
    if (producing) produce(client, arguments[3], records, atol(arguments[5]), atoi(arguments[6]));
    else consume(client, arguments[3], records, atoi(arguments[6]));
    printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f}\n", now() - begin, cpu());
    // Goodbyes to the broker are not measured, and nothing is left to be flushed.
    return 0;
}
