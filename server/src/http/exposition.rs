//! The node's numbers in Prometheus' text format.
//!
//! Names are those under which Kafka's own numbers usually reach Prometheus (its JMX exporter's lower-case form), so that
//! dashboards and alerts made for Kafka find them; what Kafka does not have begins with `tidelog_`.

use std::{fmt::Write, time::Duration};

use tidelog_core::{
    ids::NodeId,
    message::{DescribeLogDirsRequest, DescribeLogDirsResponse, MetadataRequest, MetadataResponse, Request, Response},
};

use crate::{
    env::{Env, within},
    listener::Context,
    metrics::{Api, Histogram, Metrics},
};

/// All of it.
pub(super) async fn write<E: Env>(context: &Context<E>) -> String {
    let mut page = Page::default();
    node_metrics(&mut page, context.node.metrics());
    let is_ready = context.node.is_ready() && !context.stop.is_requested();
    page.gauge("tidelog_ready", "Are clients served?", u64::from(is_ready));
    if is_ready {
        let everything = MetadataRequest { topics: None, allow_auto_topic_creation: false };
        if let Some(Response::Metadata(metadata)) = ask(context, Request::Metadata(everything)).await {
            cluster_metrics(&mut page, &metadata, context.node.id());
        }
        let everything = DescribeLogDirsRequest { partitions: None };
        if let Some(Response::DescribeLogDirs(logs)) = ask(context, Request::DescribeLogDirs(everything)).await {
            log_metrics(&mut page, &logs);
        }
    }
    process_metrics(&mut page);
    page.0
}

async fn ask<E: Env>(context: &Context<E>, request: Request) -> Option<Response> {
    within(&context.env, ANSWER_TIME_MAX, context.node.call(request)).await?.ok()
}

fn node_metrics(page: &mut Page, metrics: &Metrics) {
    let topics = "kafka_server_brokertopicmetrics";
    page.counter(&format!("{topics}_messagesin_total"), "Records that producers sent.", metrics.messages_in.get());
    page.counter(&format!("{topics}_bytesin_total"), "Bytes of batches that producers sent.", metrics.bytes_in.get());
    page.counter(&format!("{topics}_bytesout_total"), "Bytes of batches given to readers.", metrics.bytes_out.get());
    for (name, api) in [("produce", Api::Produce), ("fetch", Api::Fetch)] {
        let api = &metrics.apis[api as usize];
        page.counter(&format!("{topics}_total{name}requests_total"), "Requests.", api.requests.get());
        page.counter(
            &format!("{topics}_failed{name}requests_total"),
            "Requests that failed in part.",
            api.failed.get(),
        );
    }
    page.head("kafka_network_requestmetrics_requests_total", "Requests by kind.", "counter");
    for api in Api::ALL {
        let requests = metrics.apis[api as usize].requests.get();
        page.line(&format!("kafka_network_requestmetrics_requests_total{{request=\"{api:?}\"}}"), requests);
    }
    let name = "kafka_network_requestmetrics_totaltime_seconds";
    page.head(name, "From a request's arrival to its answer.", "histogram");
    for api in Api::ALL {
        let time = &metrics.apis[api as usize].time;
        // A kind that was never asked for has nothing to say in nineteen lines.
        if time.read().1 > 0 {
            page.histogram(name, &format!("request=\"{api:?}\""), time);
        }
    }
    let name = "kafka_log_logflushstats_logflush_seconds";
    page.head(name, "Time of one file's sync.", "histogram");
    page.histogram(name, "", &metrics.sync_time);
    let queue = "kafka_network_requestchannel_requestqueuesize";
    page.gauge(queue, "Requests that wait for the core.", metrics.request_queue.get());
    let pending = "tidelog_requests_pending";
    page.gauge(
        pending,
        "Requests taken up and not answered, parked fetches among them.",
        metrics.requests_pending.get(),
    );
    page.gauge("tidelog_disk_jobs", "Jobs that the disk has not finished.", metrics.disk_jobs.get());
    let in_flight = metrics.append_bytes_in_flight.get();
    page.gauge("tidelog_append_in_flight_bytes", "Bytes of appends that the disk has not finished.", in_flight);
    page.counter("tidelog_cold_read_bytes_total", "Bytes given to readers from files.", metrics.cold_read_bytes.get());
    page.gauge("tidelog_disk_full", "Did an append find no space a moment ago?", u64::from(metrics.disk.is_full()));
    let failed = "tidelog_failed_logs_total";
    page.counter(failed, "Logs that could not be opened since the start.", metrics.failed_logs.get());
    let offline = u64::from(metrics.disk.offline().is_some());
    page.gauge("kafka_log_logmanager_offlinelogdirectorycount", "Data directories that failed.", offline);
}

fn cluster_metrics(page: &mut Page, metadata: &MetadataResponse, this: NodeId) {
    let partitions = || metadata.topics.iter().flat_map(|topic| &topic.partitions);
    let led = || partitions().filter(|partition| partition.leader == Some(this));
    let here = partitions().filter(|partition| partition.replicas.contains(&this)).count();
    let under_replicated = led().filter(|partition| partition.isr.len() < partition.replicas.len()).count();
    let offline = partitions().filter(|partition| partition.leader.is_none()).count();
    let replicas = "kafka_server_replicamanager";
    page.gauge(&format!("{replicas}_partitioncount"), "Partitions with a replica on this node.", here as u64);
    page.gauge(&format!("{replicas}_leadercount"), "Partitions that this node leads.", led().count() as u64);
    let help = "Partitions led here with replicas out of sync.";
    page.gauge(&format!("{replicas}_underreplicatedpartitions"), help, under_replicated as u64);
    let controller = "kafka_controller_kafkacontroller";
    page.gauge(&format!("{controller}_offlinepartitionscount"), "Partitions without a leader.", offline as u64);
    page.gauge(&format!("{controller}_globaltopiccount"), "Topics.", metadata.topics.len() as u64);
    page.gauge(&format!("{controller}_globalpartitioncount"), "Partitions.", partitions().count() as u64);
    let active = u64::from(metadata.controller == this);
    page.gauge(&format!("{controller}_activecontrollercount"), "Is this node the controller?", active);
}

fn log_metrics(page: &mut Page, response: &DescribeLogDirsResponse) {
    page.head("kafka_log_log_size", "Bytes of all segments of a partition.", "gauge");
    for log in &response.logs {
        page.line(&format!("kafka_log_log_size{{topic=\"{}\",partition=\"{}\"}}", log.topic, log.partition), log.bytes);
    }
}

/// What the system knows of this process; left out where it has no `/proc`.
fn process_metrics(page: &mut Page) {
    if let Ok(statm) = std::fs::read_to_string("/proc/self/statm")
        && let Some(pages) = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok())
    {
        let bytes = pages * rustix::param::page_size() as u64;
        page.gauge("process_resident_memory_bytes", "Memory in use.", bytes);
    }
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    page.head("process_cpu_seconds_total", "Processor time used.", "counter");
    page.line("process_cpu_seconds_total", format_args!("{}.{:09}", usage.tv_sec, usage.tv_nsec));
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open descriptors.", files.count() as u64);
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.write(format_args!("{name} {value}\n"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(name, value);
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let (at_most, count, sum) = histogram.read();
        for (micros, below) in at_most {
            let bound = seconds(Duration::from_micros(micros));
            self.line(&format!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}}"), below);
        }
        self.line(&format!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}}"), count);
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        self.line(&format!("{name}_sum{braces}"), seconds(sum));
        self.line(&format!("{name}_count{braces}"), count);
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a String takes everything");
    }
}

/// `0.0005`, as Prometheus wants its numbers.
fn seconds(span: Duration) -> String {
    let text = format!("{}.{:09}", span.as_secs(), span.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How long a scrape waits for the core.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_no_needless_digits() {
        assert_eq!(seconds(Duration::from_micros(50)), "0.00005");
        assert_eq!(seconds(Duration::from_secs(30)), "30");
        assert_eq!(seconds(Duration::ZERO), "0");
    }

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let metrics = Metrics::default();
        metrics.sync_time.observe(Duration::from_micros(120));
        metrics.apis[Api::Fetch as usize].time.observe(Duration::from_secs(99));
        let mut page = Page::default();
        node_metrics(&mut page, &metrics);
        process_metrics(&mut page);
        for line in page.0.lines() {
            let sample = line.rsplit_once(' ').is_some_and(|(name, value)| {
                name.starts_with(|c: char| c.is_ascii_lowercase()) && value.parse::<f64>().is_ok()
            });
            assert!(line.starts_with("# ") || sample, "{line}");
        }
        assert!(page.0.contains("kafka_log_logflushstats_logflush_seconds_bucket{le=\"0.0002\"} 1\n"), "{}", page.0);
        let fetch = "kafka_network_requestmetrics_totaltime_seconds_bucket{request=\"Fetch\",le=\"30\"} 0\n";
        assert!(page.0.contains(fetch), "{}", page.0);
    }
}
