//! What the files of all nodes hold, for a look at a failure.

use super::World;

impl World {
    /// What the time indexes and logs hold, for a look at a failure.
    pub fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for host in &self.hosts {
            use tidelog_core::log::{Disk, OpenMode};
            for (path, len) in host.disk.files() {
                lines.push(format!("{path} {len}"));
                if !path.ends_with(".timeindex") && !path.ends_with(".log") && !path.ends_with(".index") {
                    continue;
                }
                let Ok(bytes) = host.disk.quietly(|| {
                    let file = host.disk.open(&path, OpenMode::Existing)?;
                    host.disk.read_at(&file, 0, len as usize)
                }) else {
                    continue;
                };
                if path.ends_with(".log") {
                    for batch in tidelog_core::record::Batches(bytes).flatten() {
                        let h = batch.header();
                        lines.push(format!(
                            "    {}..{} max {} size {}",
                            h.base_offset,
                            h.next_offset(),
                            h.max_timestamp,
                            batch.size()
                        ));
                    }
                } else if path.ends_with(".timeindex") {
                    for entry in bytes.chunks(12).filter(|e| e.len() == 12) {
                        let t = i64::from_be_bytes(entry[..8].try_into().expect("eight"));
                        let o = u32::from_be_bytes(entry[8..].try_into().expect("four"));
                        lines.push(format!("    time {t} relative {o}"));
                    }
                } else {
                    for entry in bytes.chunks(8).filter(|e| e.len() == 8) {
                        let t = u32::from_be_bytes(entry[..4].try_into().expect("four"));
                        let o = u32::from_be_bytes(entry[4..].try_into().expect("four"));
                        lines.push(format!("    relative {t} position {o}"));
                    }
                }
            }
        }
        lines
    }
}
