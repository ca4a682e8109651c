"""What the numbers were taken on, and what a process costs."""

import os
import platform
import subprocess
from pathlib import Path


def describe(folder, binary):
    """The set-up that is printed over every table."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) / 1e6
    mount = subprocess.run(["df", "--output=source,fstype", folder], capture_output=True, text=True).stdout.splitlines()[-1].split()
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return {
        "processor": f"{os.cpu_count()} x {model}",
        "memory": f"{memory:.0f} GB",
        "disk": " ".join(mount),
        "kernel": platform.release(),
        "load before": f"{os.getloadavg()[0]:.2f}",
        "revision": revision.stdout.strip(),
        "binary": f"{binary.stat().st_size / 1e6:.1f} MB",
    }


class Process:
    """A process, by its id, as /proc shows it."""

    def __init__(self, pid):
        self.pid = pid

    def is_running(self):
        return Path(f"/proc/{self.pid}").exists()

    def cpu_seconds(self):
        """User and system time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self):
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Processes:
    """The processes of a cluster: what all of them use together, and how much the largest holds."""

    def __init__(self, processes):
        self.all = list(processes)

    def cpu_seconds(self):
        return sum(process.cpu_seconds() for process in self.all)

    def memory_mb(self):
        return max(process.memory_mb() for process in self.all)


def listener(port):
    """The process that listens on a TCP port of this machine."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).readlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if any(os.readlink(link) in inodes for link in (folder / "fd").iterdir()):
                    return Process(int(folder.name))
            except OSError:
                continue
    raise LookupError(f"nothing listens on port {port}")
