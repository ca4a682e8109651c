"""Records as every client sees them, and the sample that the matrix writes and reads."""

import base64
import time
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Record:
    """One record. A key, value or header value of None is Kafka's null, which is not the empty string."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    # Milliseconds. None where the writing client cannot choose it; then any two readers must still agree.
    timestamp: int | None = None
    offset: int | None = field(default=None, compare=False)

    def to_json(self):
        headers = [[name, _encode(value)] for name, value in self.headers]
        return {"key": _encode(self.key), "value": _encode(self.value), "headers": headers, "timestamp": self.timestamp}

    @staticmethod
    def from_json(fields):
        headers = tuple((name, _decode(value)) for name, value in fields["headers"])
        return Record(_decode(fields["key"]), _decode(fields["value"]), headers, int(fields["timestamp"]), int(fields["offset"]))

    def by_header_name(self):
        """Headers in the order of their names: for a client that hands them out as a map."""
        return replace(self, headers=tuple(sorted(self.headers, key=lambda header: header[0])))


def _encode(data):
    return None if data is None else base64.b64encode(data).decode()


def _decode(text):
    return None if text is None else base64.b64decode(text)


def sample(now_ms=None):
    """Records with everything that a codec or a client has been seen to get wrong, under timestamps of the last hour."""
    start = (now_ms or int(time.time() * 1000)) - 3_600_000
    text = "The same procedure as last year? The same procedure as every year. " * 1600
    odd = [
        Record(None, b"neither key nor headers"),
        Record(b"", b""),
        Record(b"tombstone", None),
        Record("Schlüssel".encode(), "値 🜁".encode(), (("twice", b"1"), ("twice", b"2"), ("empty", b""), ("null", None))),
        Record(bytes(range(256)), bytes(reversed(range(256))), (("binary", bytes(range(128, 256))),)),
        Record(b"large", text.encode(), (("large", b"h" * 5000),)),
    ]
    plain = [Record(f"key-{i % 7}".encode(), f"line {i}: {'ab' * (i % 50)}".encode(), (("n", str(i).encode()),)) for i in range(34)]
    # Timestamps need not rise with offsets: every fifth record is older than the one before it.
    stamps = [start + i * 1000 - (7_500 if i % 5 == 4 else 0) for i in range(len(odd) + len(plain))]
    return [replace(record, timestamp=stamp) for record, stamp in zip(odd + plain, stamps, strict=True)]


def text_sample():
    """What a line-based tool can write: text keys and values, one header for all, timestamps of its own."""
    return [Record(f"key-{i % 7}".encode(), f"line {i}: {'ab' * (i % 50)}".encode(), (("tool", b"kcat"),)) for i in range(40)]
