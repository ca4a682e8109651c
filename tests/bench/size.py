"""How large the benchmark is."""

import os

from bench import loads

# Of one run; what is larger is so many times this.
MEGABYTES = float(os.environ.get("BENCH_MB", "1000"))
REPEATS = 3
RECORDS = int(MEGABYTES * 1e6 / loads.RECORD_BYTES)
