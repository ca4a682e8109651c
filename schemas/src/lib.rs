//! tidelog's Cap'n Proto schemas: the public contract of its native protocol and of its metadata records.
