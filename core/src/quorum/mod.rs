//! The metadata log's election and commit rule (KIP-595): one voter today, written for many.
