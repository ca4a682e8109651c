//! A snapshot of the metadata as bytes, in Kafka's format (KIP-630): batches, back to back.
//!
//! ```text
//! | header: control record, format version, time | voters: control record | records | records | ... | footer: control record |
//!   offset 0                                       where they were ever written
//! ```
//!
//! Offsets count from 0 within the snapshot; what it stands for is in its name. Every batch is of the epoch in that name. Records
//! lead from nothing to the image ([`Image::since`]). **A snapshot is whole when its footer is there**, and every byte of it
//! is under a CRC.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use bytes::Bytes;

use super::{
    image::Image,
    record::MetadataRecord,
    record_codec::{decode, encode},
};
use crate::{
    limits,
    message::SnapshotId,
    offset::Offset,
    record::{Batch, BatchBuilder, BatchError, BatchOptions, Control, HEADER_BYTES, Voter},
    time::Timestamp,
};

/// The newest version of the format that this build writes and reads.
const VERSION: i16 = 0;

/// The bytes of a snapshot in pieces, whose last is never empty.
pub fn write_snapshot(image: &Image, voters: Option<&[Voter]>, id: SnapshotId, now: Timestamp) -> Vec<Bytes> {
    let mut writer = Writer { id, next: Offset::ZERO, pieces: Vec::new(), piece: Vec::new() };
    writer.push(Batch::snapshot_header(now));
    if let Some(voters) = voters {
        writer.push(Batch::voters(voters, now));
    }
    let mut builder = BatchBuilder::new();
    for record in image.since(&Image::default()) {
        builder.append(builder.next_delta(), now, None, Some(&encode(&record)), []);
        if builder.bytes() - HEADER_BYTES >= limits::SNAPSHOT_BATCH_BYTES_MAX {
            writer.push(core::mem::take(&mut builder).build(&BatchOptions::default()));
        }
    }
    if !builder.is_empty() {
        writer.push(builder.build(&BatchOptions::default()));
    }
    writer.push(Batch::snapshot_footer(now));
    writer.pieces.push(writer.piece.into());
    writer.pieces
}

struct Writer {
    id: SnapshotId,
    next: Offset,
    pieces: Vec<Bytes>,
    piece: Vec<u8>,
}

impl Writer {
    fn push(&mut self, mut batch: Batch) {
        batch.stamp(self.next, self.id.epoch);
        self.next = batch.header().next_offset();
        if !self.piece.is_empty() && self.piece.len() + batch.size() > limits::SNAPSHOT_PIECE_BYTES_MAX {
            self.pieces.push(core::mem::take(&mut self.piece).into());
        }
        self.piece.extend_from_slice(&batch.to_bytes());
    }
}

/// Reads a snapshot from pieces of any size, and judges it.
#[derive(Debug)]
pub struct SnapshotReader {
    id: SnapshotId,
    next: Offset,
    /// The beginning of a batch whose end is still to come.
    rest: Vec<u8>,
    state: State,
    image: Image,
    voters: Option<Vec<Voter>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Empty,
    Begun,
    Whole,
}

impl SnapshotReader {
    /// Nothing of it has been read.
    pub fn new(id: SnapshotId) -> Self {
        Self { id, next: Offset::ZERO, rest: Vec::new(), state: State::Empty, image: Image::default(), voters: None }
    }

    /// Takes the next piece; the error says in words why this is no snapshot.
    pub fn take(&mut self, piece: Bytes) -> Result<(), String> {
        let mut bytes = piece;
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(&bytes);
            bytes = core::mem::take(&mut self.rest).into();
        }
        while !bytes.is_empty() {
            match Batch::parse(&mut bytes) {
                Ok(batch) => self.take_batch(&batch)?,
                Err(BatchError::Truncated { .. }) if bytes.len() <= limits::BATCH_BYTES_MAX => {
                    self.rest = bytes.to_vec();
                    break;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    fn take_batch(&mut self, batch: &Batch) -> Result<(), String> {
        let header = batch.header();
        if header.base_offset != self.next || header.leader_epoch != self.id.epoch {
            return Err("a batch is out of place".into());
        }
        self.next = header.next_offset();
        if !header.is_control() {
            if self.state != State::Begun {
                return Err("records outside of header and footer".into());
            }
            read_batch(batch)?.iter().for_each(|record| self.image.apply(record));
            return Ok(());
        }
        let control = batch.control().map_err(|error| error.to_string())?;
        let (version, next) = match (self.state, control) {
            (State::Begun, Some(Control::Voters(voters))) => {
                self.voters = Some(voters);
                return Ok(());
            }
            (State::Empty, Some(Control::SnapshotHeader { version, .. })) => (version, State::Begun),
            (State::Begun, Some(Control::SnapshotFooter { version })) => (version, State::Whole),
            _ => return Err("header and footer are not where they belong".into()),
        };
        if version > VERSION {
            return Err("a newer tidelog wrote it".into());
        }
        self.state = next;
        Ok(())
    }

    /// There are no more pieces: what the snapshot holds, and the voters, where it has them.
    pub fn finish(self) -> Result<(Image, Option<Vec<Voter>>), String> {
        if self.state == State::Whole && self.rest.is_empty() {
            Ok((self.image, self.voters))
        } else {
            Err("it is cut off".into())
        }
    }
}

/// The records of a batch of the metadata log or of a snapshot; the error says in words what is wrong with it.
pub fn read_batch(batch: &Batch) -> Result<Vec<MetadataRecord>, String> {
    if batch.header().is_control() {
        return Ok(Vec::new());
    }
    let mut records = Vec::new();
    for record in batch.records().map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        let value = record.value.ok_or("a record has no value")?;
        records.push(decode(&value).map_err(|e| e.to_string())?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{difference::tests::history, record::PartitionChange},
        epoch::LeaderEpoch,
    };

    const ID: SnapshotId = SnapshotId { end: Offset(90), epoch: LeaderEpoch(4) };

    fn read(pieces: impl IntoIterator<Item = Bytes>) -> Result<Image, String> {
        let mut reader = SnapshotReader::new(ID);
        pieces.into_iter().try_for_each(|piece| reader.take(piece))?;
        let (image, voters) = reader.finish()?;
        assert_eq!(voters, Some(voters_of()), "they come along");
        Ok(image)
    }

    fn voters_of() -> Vec<Voter> {
        let directory = crate::ids::DirectoryId([4; 16]);
        alloc::vec![Voter { node: crate::ids::NodeId(2), directory, endpoint: "h:1".into() }]
    }

    fn whole(image: &Image) -> Bytes {
        write_snapshot(image, Some(&voters_of()), ID, Timestamp(7)).concat().into()
    }

    #[test]
    fn an_image_is_the_same_once_written_and_read_whatever_the_pieces() {
        for seed in 0..20 {
            let image = history(seed, 80).pop().expect("there are many");
            let bytes = whole(&image);
            for size in [1, 7, 100, 1 << 20] {
                let pieces = bytes.chunks(size).map(Bytes::copy_from_slice);
                assert_eq!(read(pieces).as_ref(), Ok(&image), "seed {seed}");
            }
        }
    }

    #[test]
    fn what_is_damaged_or_cut_off_is_no_snapshot_and_nothing_panics() {
        let bytes = whole(&history(3, 40).pop().expect("there are many"));
        for cut in 0..bytes.len() {
            assert!(read([bytes.slice(..cut)]).is_err(), "cut to {cut}");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x10;
            // The length of a batch is not under its CRC, but then it does not fit.
            assert!(read([bad.into()]).is_err(), "flipped at {at}");
        }
        assert!(read([bytes.clone(), bytes.clone()]).is_err(), "twice");
        let other = SnapshotId { epoch: LeaderEpoch(5), ..ID };
        assert!(SnapshotReader::new(other).take(bytes).is_err(), "of another epoch");
    }

    /// The bytes that are written today. A change here is a change of format.
    #[test]
    fn golden_bytes_are_still_written() {
        let image = history(1, 30).pop().expect("there are many");
        let golden = include_str!("../../testdata/metadata_snapshot_2.hex");
        let hex = |piece: &Bytes| piece.iter().map(|b| alloc::format!("{b:02x}")).collect::<String>();
        let written: Vec<String> = write_snapshot(&image, None, ID, Timestamp(7)).iter().map(hex).collect();
        assert_eq!(written.join("\n"), golden.trim_end());
    }

    /// The bytes that an earlier version left on disks, before unclean elections left a mark.
    #[test]
    fn a_snapshot_of_an_earlier_version_is_still_read() {
        let written = history(1, 30).pop().expect("there are many");
        let unmarked = |record| match record {
            MetadataRecord::PartitionChanged(change) => {
                MetadataRecord::PartitionChanged(PartitionChange { unclean_epoch: None, ..change })
            }
            other => other,
        };
        let mut image = Image::default();
        written.since(&Image::default()).into_iter().map(unmarked).for_each(|record| image.apply(&record));
        let golden = include_str!("../../testdata/metadata_snapshot.hex").trim_end();
        let byte = |hex: &[u8]| u8::from_str_radix(core::str::from_utf8(hex).expect("ascii"), 16).expect("hex");
        let mut reader = SnapshotReader::new(ID);
        for line in golden.lines() {
            reader.take(line.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>().into()).expect("it is understood");
        }
        assert_eq!(reader.finish(), Ok((image, None)));
    }
}
