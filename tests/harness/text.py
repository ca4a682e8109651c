"""Real text, of any size, from what every machine that builds this has: its documentation and cargo's sources."""

import os
from pathlib import Path

PLACES = (
    Path("/usr/share/doc"),
    Path("/usr/share/common-licenses"),
    Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")) / "registry/src",
    Path("/usr/lib/python3"),
    Path("/usr/include"),
)
# A tool that goes by lines must be able to take each as one record.
LINE_BYTES_MAX = 100_000


def real_text(path, megabytes):
    """Writes at least that many megabytes of lines to `path`, and returns how many lines."""
    lines = size = 0
    with open(path, "wb") as out:
        while size < megabytes * 1e6:
            before = size
            for piece in pieces():
                # An empty line is a record like any other to tidelog, but kcat would drop it.
                whole = b"".join(line + b"\n" for line in piece.split(b"\n") if line and len(line) < LINE_BYTES_MAX)
                out.write(whole)
                size += len(whole)
                lines += whole.count(b"\n")
                if size >= megabytes * 1e6:
                    break
            assert size > before, f"no text in any of {PLACES}"
    return lines


def pieces():
    """The text files, in the order of their paths, so that every run on one machine has the same."""
    for place in PLACES:
        for folder, folders, files in os.walk(place):
            folders.sort()
            for name in sorted(files):
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink():
                    data = path.read_bytes()
                    if b"\0" not in data[:4096] and not name.endswith(".gz"):
                        yield data
