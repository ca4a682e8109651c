"""The server under test: the built binary, on ports that the system picks, with a data folder of its own."""

import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def binary():
    """The `tidelog` under test: $TIDELOG_BIN, or what `make test` built."""
    named = os.environ.get("TIDELOG_BIN")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "tidelog"


def run(*arguments, input=None, timeout=60, **settings):
    """Runs the command line once and returns what came of it."""
    command = [binary(), *(str(argument) for argument in arguments)]
    return subprocess.run(command, input=input, capture_output=True, timeout=timeout, **settings)


class Server:
    """A running `tidelog serve`."""

    def __init__(self, folder, kafka="127.0.0.1:0", native="127.0.0.1:0", http="127.0.0.1:0", arguments=(), environment=None, prefix=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self._wanted = [kafka, native, http]
        self._arguments = [str(argument) for argument in arguments]
        self._environment = environment
        # What stands before the command: it must become the command, as `ip netns exec NAME` does.
        self._prefix = list(prefix)
        self.process = None

    def start(self, ready_within=30):
        """Starts it and returns the seconds until it said that clients can be served."""
        begin = time.perf_counter()
        self._spawn()
        watchdog = threading.Timer(ready_within, self.process.kill)
        watchdog.start()
        try:
            addresses = self._addresses()
        finally:
            watchdog.cancel()
        took = time.perf_counter() - begin
        self.kafka, self.native, self.http = addresses["kafka"], addresses["native"], addresses["http"]
        # A restart comes back on the same ports, so that clients find it again.
        self._wanted = [self.kafka, self.native, self.http]
        return took

    def start_and_kill(self, after):
        """Starts it and kills it `after` so many seconds, wherever it is by then."""
        self._spawn()
        try:
            self.process.wait(after)
        except subprocess.TimeoutExpired:
            self.kill()

    def _spawn(self):
        kafka, native, http = self._wanted
        self._log_from = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self._prefix, binary(), "serve", "--data", self.data, "--kafka", kafka, "--native", native, "--http", http, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=None if self._environment is None else {**os.environ, **self._environment},
            )

    def _addresses(self):
        """The addresses in the one line that the server writes to stdout once it serves."""
        line = self.process.stdout.readline().decode()
        found = dict(re.findall(r"(kafka|native|http)=(\S+:\d+)", line))
        if len(found) != 3:
            self.kill()
            raise AssertionError(f"the server did not come up:\n{self.log_text()}")
        return found

    def kill(self):
        """SIGKILL, as a power cut that the page cache survives."""
        self.process.kill()
        self.process.wait()

    def stop(self, within=30):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(within)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"no exit within {within} s of SIGTERM:\n{self.log_text()}") from None
        return self.process.returncode

    def log_text(self):
        """What this start wrote to stderr."""
        with open(self.log, "rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def metrics(self):
        """`/metrics`, as text."""
        return self.get("/metrics")

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
            return answer.read().decode()

    def cpu_seconds(self):
        """User and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self):
        """Resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cli(self, *arguments, **settings):
        """A command line verb against this server's native listener."""
        return run(*arguments, "--bootstrap", self.native, **settings)

    def json(self, *arguments, **settings):
        """The same with `--json`, parsed."""
        answer = self.cli(*arguments, "--json", **settings)
        assert answer.returncode == 0, answer.stderr.decode()
        return json.loads(answer.stdout)
