"""`make bench`: tidelog beside the bare disk, and beside real Kafka under the same clients, in one run.

Absolute numbers belong to the machine; the ratios are what counts, and those only within one run. Every load runs
three times, the parties taking turns, and the median is shown. Needs what `make test` installs and Debian's
librdkafka-dev; KAFKA_PEER (see brokers.py) adds Kafka. BENCH_MB sets the size of one run, BENCH_ONLY picks sections
by name, BENCH_DIR the disk. All takes about half an hour and 20 GB of disk. RESULTS.md says where the time goes.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench import brokers, machine, sections
from bench.report import Report
from harness.server import ROOT, binary


def main():
    disk = Path(os.environ.get("BENCH_DIR", ROOT / "target"))
    disk.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=disk))
    report = Report(machine.describe(folder, binary()))
    if not brokers.PEER:
        print("KAFKA_PEER is not set: Kafka is not measured, ratios to it are left out", file=sys.stderr)
    only = os.environ.get("BENCH_ONLY", "").split()
    try:
        for section in sections.ALL:
            if not only or section.__name__ in only:
                section(report, folder)
    finally:
        shutil.rmtree(folder)
        out = ROOT / "target/bench" / f"{time.strftime('%Y-%m-%dT%H%M%S')}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report.as_json(), indent=2))
        out.with_suffix(".md").write_text(report.as_markdown())
        print(f"\nall numbers: {out}, as a table: {out.with_suffix('.md').name}")


main()
