@0xde2e7fc040da092c;
# tidelog's native protocol. See README.md for framing and for the rules of evolution.

struct Hello {
  # The first message of a client on every connection.

  software @0 :Text;
  # Name and version of the client, for logs: "tidelog-rust/0.1.0".
}
