@0xfa1c7cd1d8f86b91;
# The records of the metadata log, `__cluster_metadata-0`. See README.md for the rules of evolution.

struct MetadataRecord {
  # One record of the metadata log.

  reserved @0 :Void;
  # Holds the place of the first kind of record.
}
