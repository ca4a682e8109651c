"""kcat: the tool that people reach for first, with Debian's older librdkafka."""

import subprocess

from harness.records import Record

NAME = "kcat"
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def produce(bootstrap, topic, records, codec="none", partition=0):
    """Writes text records: no nulls, one set of headers, timestamps of kcat's own. Offsets are not reported."""
    headers = {record.headers for record in records}
    assert len(headers) == 1, "kcat writes the same headers with every record"
    command = ["kcat", "-q", "-P", "-b", bootstrap, "-t", topic, "-p", str(partition), "-z", codec, "-K", "\t", "-X", "acks=all"]
    for name, value in headers.pop():
        command += ["-H", f"{name}={value.decode()}"]
    lines = b"".join(record.key + b"\t" + record.value + b"\n" for record in records)
    subprocess.run(command, input=lines, check=True, timeout=60, capture_output=True)


def consume(bootstrap, topic, count, partition=0, offset=0, timeout=30):
    """Reads `count` records. Headers arrive as the one text that kcat prints; `headers_text` says which."""
    command = ["kcat", "-q", "-C", "-b", bootstrap, "-t", topic, "-p", str(partition), "-o", str(offset), "-c", str(count)]
    command += ["-X", "check.crcs=true", "-X", "fetch.wait.max.ms=100"]
    # Lengths first, so that any bytes can follow.
    command += ["-f", "%o %T %K %S %h\\n%k%s\\n"]
    out = subprocess.run(command, check=True, timeout=timeout, capture_output=True).stdout
    records = []
    at = 0
    while at < len(out):
        end = out.index(b" ", out.index(b" ", out.index(b" ", out.index(b" ", at) + 1) + 1) + 1)
        found, stamp, key_length, value_length = (int(word) for word in out[at:end].split())
        key_at = at
        # The header text may hold newlines of its own; the lengths say where the line must end.
        while True:
            key_at = out.index(b"\n", max(key_at, end)) + 1
            value_at = key_at + max(key_length, 0)
            at = value_at + max(value_length, 0)
            if out[at : at + 1] == b"\n":
                break
        headers = out[end + 1 : key_at - 1]
        key = None if key_length < 0 else out[key_at:value_at]
        value = None if value_length < 0 else out[value_at:at]
        records.append(Record(key, value, (("", headers),) if headers else (), stamp, found))
        at += 1
    return records


def headers_text(record):
    """A record's headers as `consume` reports them."""
    text = b",".join(name.encode() + b"=" + (b"NULL" if value is None else value) for name, value in record.headers)
    return (("", text),) if text else ()
