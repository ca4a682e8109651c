//! The client's machines: metadata cache, producer, consumer, admin. Sans-IO like everything here.
