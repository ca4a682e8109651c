"""Hosts of one's own: a network namespace for each node and one for the clients, joined by a bridge.

Addresses are of the loopback range (127.77.0.x, with `route_localnet`), so that no packet can be meant for anything real.
A path is cut one way by telling the sender a hardware address that nobody has: frames leave and arrive nowhere, as on a
dead cable, and no socket is told. Slow links are a token bucket (tbf). Needs root and iproute2, nothing else.
"""

import os
import subprocess
from pathlib import Path

NOBODY = "02:00:00:00:00:00"
CLIENTS = "clients"


def is_available():
    """May namespaces be made here?"""
    probe = f"tidelog-{os.getpid()}-probe"
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True)
    except FileNotFoundError:
        return False
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "del", probe], check=True)
    return made.returncode == 0


class Net:
    """The namespaces of one run. They are named for the process that owns them, which takes them away."""

    def __init__(self, nodes, owner=None):
        self.owner = owner or os.getpid()
        self.nodes = list(nodes)
        self.hosts = {CLIENTS: "127.77.0.100", **{node: f"127.77.0.{node}" for node in self.nodes}}
        self._cut = set()

    def name(self, host):
        return f"tidelog-{self.owner}-{host}"

    def command(self, host):
        """What stands before a command that shall run on a host."""
        return ["ip", "netns", "exec", self.name(host)]

    def create(self):
        remove_leftovers()
        hub = self.name(CLIENTS)
        for host in self.hosts:
            ip("netns", "add", self.name(host))
        ip("-n", hub, "link", "add", "bridge", "address", self._mac(CLIENTS), "type", "bridge")
        for node in self.nodes:
            ip("-n", hub, "link", "add", f"node-{node}", "type", "veth", "peer", "name", "wire", "netns", self.name(node))
            ip("-n", hub, "link", "set", f"node-{node}", "master", "bridge", "up")
            ip("-n", self.name(node), "link", "set", "dev", "wire", "address", self._mac(node))
        for host, address in self.hosts.items():
            space, device = self.name(host), self._device(host)
            ip("-n", space, "link", "set", "dev", "lo", "up")
            # Only 127.0.0.1 stays the host's own; the rest of 127/8 is out there.
            ip("-n", space, "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local")
            for scope in ("all", device):
                subprocess.run(
                    [*self.command(host), "tee", f"/proc/sys/net/ipv4/conf/{scope}/route_localnet"],
                    input=b"1", stdout=subprocess.DEVNULL, check=True,
                )
            ip("-n", space, "address", "add", f"{address}/24", "dev", device)
            ip("-n", space, "link", "set", "dev", device, "up")
            for other in self.hosts:
                if other != host:
                    self._tell(host, other, self._mac(other))

    def cut(self, sender, receiver):
        """From now on nothing that the one sends reaches the other."""
        self._cut.add((sender, receiver))
        self._tell(sender, receiver, NOBODY)

    def slow(self, node, rate):
        """All that a node sends has to share so much: "2mbit"."""
        tc("-n", self.name(node), "qdisc", "replace", "dev", "wire", "root", "tbf", "rate", rate, "burst", "4k", "latency", "400ms")

    def heal(self):
        """Every path as it was."""
        for sender, receiver in self._cut:
            self._tell(sender, receiver, self._mac(receiver))
        self._cut.clear()
        for node in self.nodes:
            # It may have none.
            subprocess.run(["tc", "-n", self.name(node), "qdisc", "del", "dev", "wire", "root"], capture_output=True)

    def delete(self):
        for host in self.hosts:
            remove(self.name(host))

    def _tell(self, host, other, mac):
        device = self._device(host)
        ip("-n", self.name(host), "neighbour", "replace", self.hosts[other], "lladdr", mac, "nud", "permanent", "dev", device)

    def _device(self, host):
        return "bridge" if host == CLIENTS else "wire"

    def _mac(self, host):
        return f"02:77:00:00:00:{100 if host == CLIENTS else host:02x}"


def remove(name):
    """Ends what still runs in a namespace, and the namespace."""
    running = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    for pid in running.stdout.split():
        subprocess.run(["kill", "-KILL", pid], capture_output=True)
    subprocess.run(["ip", "netns", "del", name], capture_output=True)


def remove_leftovers():
    """Namespaces of runs that could not clean up after themselves."""
    for line in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.splitlines():
        name = line.split()[0]
        parts = name.split("-")
        if parts[0] == "tidelog" and len(parts) == 3 and not Path(f"/proc/{parts[1]}").exists():
            remove(name)


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True)


def tc(*arguments):
    subprocess.run(["tc", *map(str, arguments)], check=True, capture_output=True)
