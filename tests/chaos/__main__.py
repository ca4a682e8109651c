"""`make chaos`: a real three-node cluster, hosts of its own, real clients, faults; and the simulator's checker over it all.

MINUTES is how long faults go on (10), SEED draws them, WITHOUT names faults to leave out (with commas between), RATE is the records a second of each writer (300), FAILOVERS how
often a leader is killed to measure how soon writing goes on (10), CHAOS_DIR where the nodes' folders are; it is kept when
something is wrong. KEEP=1 keeps it always.

This process makes the network namespaces, runs `chaos.run` among the clients, and takes everything away again. Where no
namespaces can be made (they take root), the nodes share the loopback device, and the faults of the network are left out.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos.net import CLIENTS, Net, is_available
from harness.server import ROOT

SMALL_DISK_MB = 768


def main():
    place = Path(os.environ.get("CHAOS_DIR", ROOT / "target"))
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=place))
    # A SIGTERM ends it as Ctrl-C does: through the `finally`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    net = Net([1, 2, 3]) if is_available() else None
    code = 1
    try:
        command = [sys.executable, "-m", "chaos.run", str(folder)]
        if net:
            net.create()
            command = [*net.command(CLIENTS), *command, str(net.owner), str(SMALL_DISK_MB)]
        code = subprocess.run(command).returncode
    finally:
        if net:
            net.delete()
        if code == 0 and not os.environ.get("KEEP"):
            shutil.rmtree(folder)
        else:
            print(f"what is left of it: {folder}")
    sys.exit(code)


main()
