//! Tests that need real processes, real sockets and real outside clients.
