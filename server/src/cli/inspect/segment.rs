//! Segments: batch by batch, with memory for one of them.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use bytes::Bytes;
use tidelog_core::{
    cluster,
    limits::BATCH_BYTES_MAX,
    record::{Batch, BatchHeader, Control, HEADER_BYTES, RawRecord},
};

use super::{
    super::{
        error::Ended,
        format::{Format, Shown},
        json::Json,
    },
    Shower, damaged, unreadable,
};

/// The folder of the log whose records are tidelog's own.
const METADATA_FOLDER: &str = "__cluster_metadata-0";

/// Shows the batches of a segment.
pub(super) fn show(shower: &mut Shower<'_>, path: &Path) -> Result<(), Ended> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut input = BufReader::with_capacity(1 << 20, file);
    let is_metadata = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == METADATA_FOLDER);
    let mut position = 0;
    loop {
        let mut bytes = vec![0; HEADER_BYTES];
        let read = fill(&mut input, &mut bytes).map_err(|error| unreadable(path, &error))?;
        if read == 0 {
            break;
        }
        let at = |reason: &dyn std::fmt::Display| damaged(path, format!("at byte {position}: {reason}"));
        if read < HEADER_BYTES {
            return Err(at(&format!("{read} bytes are too few for a batch")).into());
        }
        let header = bytes.first_chunk().and_then(BatchHeader::read);
        let size = header.as_ref().and_then(BatchHeader::size).filter(|&size| size <= BATCH_BYTES_MAX);
        let Some(size) = size else { return Err(at(&"there is no batch").into()) };
        bytes.resize(size, 0);
        let read =
            HEADER_BYTES + fill(&mut input, &mut bytes[HEADER_BYTES..]).map_err(|error| unreadable(path, &error))?;
        bytes.truncate(read);
        let batch = Batch::parse(&mut Bytes::from(bytes)).map_err(|error| at(&error))?;
        if shower.args.json {
            json(shower, &batch, position, is_metadata).map_err(|reason| at(&reason))?;
        } else {
            text(shower, &batch, position, is_metadata).map_err(|reason| at(&reason))?;
        }
        shower.stdout.settle()?;
        position += size as u64;
    }
    if position == 0 && !shower.args.json {
        shower.stdout.buffer().extend_from_slice(b"no batches\n");
    }
    Ok(shower.stdout.flush()?)
}

/// Reads until `into` is full or the file ends; returns the bytes read.
fn fill(input: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match input.read(&mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn codec(header: &BatchHeader) -> String {
    header.compression().map_or_else(|| "unknown".to_owned(), |codec| format!("{codec:?}").to_lowercase())
}

fn text(shower: &mut Shower<'_>, batch: &Batch, position: u64, is_metadata: bool) -> Result<(), String> {
    let header = batch.header();
    let mut line = format!(
        "offset {}..{} at {position}: {} records, {} bytes, {}, epoch {}, time {}",
        header.base_offset,
        header.last_offset(),
        header.records_count,
        batch.size(),
        codec(header),
        header.leader_epoch,
        header.max_timestamp.0,
    );
    if header.has_producer() {
        let producer = (header.producer_id, header.producer_epoch.0, header.base_sequence);
        line.push_str(&format!(", producer {} epoch {} sequence {}", producer.0, producer.1, producer.2));
    }
    if header.is_transactional() {
        line.push_str(", transactional");
    }
    if let Some(horizon) = header.delete_horizon() {
        line.push_str(&format!(", delete horizon {}", horizon.0));
    }
    if header.is_control() {
        line.push_str(", control");
    }
    line.push('\n');
    if shower.args.records {
        let open = batch.open().map_err(|error| error.to_string())?;
        for record in &open {
            let record = record.map_err(|error| error.to_string())?;
            let offset = header.base_offset.forward(i64::from(record.offset_delta));
            let what = match meaning(header, &record, is_metadata) {
                Some(meaning) => meaning,
                None => {
                    let part = |bytes: Option<&[u8]>| match bytes {
                        None => "null".to_owned(),
                        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
                    };
                    let headers: Vec<String> = record
                        .headers
                        .map(|(name, value)| format!("{}={}", name.escape_ascii(), part(value)))
                        .collect();
                    let headers = if headers.is_empty() { String::new() } else { format!(" [{}]", headers.join(", ")) };
                    format!("{} = {}{headers}", part(record.key), part(record.value))
                }
            };
            line.push_str(&format!("  {offset} {} {what}\n", record.timestamp.0));
        }
    }
    shower.stdout.buffer().extend_from_slice(line.as_bytes());
    Ok(())
}

fn json(shower: &mut Shower<'_>, batch: &Batch, position: u64, is_metadata: bool) -> Result<(), String> {
    let header = batch.header();
    // A record is an object of its own, as `consume` shows it.
    let mut records = Vec::new();
    if shower.args.records {
        let open = batch.open().map_err(|error| error.to_string())?;
        for record in &open {
            let record = record.map_err(|error| error.to_string())?;
            let offset = header.base_offset.forward(i64::from(record.offset_delta));
            match meaning(header, &record, is_metadata) {
                Some(meaning) => {
                    let mut json = Json::new();
                    json.object(|json| {
                        json.key("offset").number(offset.0).key("meaning").text(&meaning);
                    });
                    records.push(json.as_str().to_owned());
                }
                None => {
                    let mut line = Vec::new();
                    let shown = Shown { topic: None, partition: None, offset, record: &record };
                    Format::Json.show(&shown, &mut Json::new(), &mut line);
                    records.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
            }
        }
    }
    let out = &mut shower.json;
    out.clear();
    out.object(|json| {
        json.key("base_offset").number(header.base_offset.0).key("last_offset").number(header.last_offset().0);
        json.key("position").number(position).key("bytes").number(batch.size() as u64);
        json.key("record_count").number(header.records_count).key("compression").text(&codec(header));
        json.key("leader_epoch").number(header.leader_epoch.0).key("crc").number(header.crc);
        json.key("max_timestamp").number(header.max_timestamp.0);
        json.key("timestamp_type").text(&format!("{:?}", header.timestamp_type()));
        json.key("producer_id").number(header.producer_id.0).key("producer_epoch").number(header.producer_epoch.0);
        json.key("base_sequence").number(header.base_sequence);
        json.key("transactional").flag(header.is_transactional()).key("control").flag(header.is_control());
        if shower.args.records {
            json.key("records").array(|json| {
                for record in &records {
                    json.raw(record);
                }
            });
        }
    });
    shower.stdout.buffer().extend_from_slice(out.as_str().as_bytes());
    shower.stdout.buffer().push(b'\n');
    Ok(())
}

/// What a record says that is not a user's.
fn meaning(header: &BatchHeader, record: &RawRecord<'_>, is_metadata: bool) -> Option<String> {
    if header.is_control() {
        return Some(match Control::read(record.key, record.value) {
            Some(control) => format!("{control:?}"),
            None => "control record of an unknown kind".to_owned(),
        });
    }
    let value = record.value.filter(|_| is_metadata)?;
    Some(match cluster::decode(value) {
        Ok(record) => format!("{record:?}"),
        Err(error) => format!("metadata record that this build does not understand: {error}"),
    })
}
