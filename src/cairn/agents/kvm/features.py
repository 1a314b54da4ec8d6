"""Finds the features of the kernel that networks and VMs may want, by really trying them.

Everything is tried in a network name space that ends with the process that tries, so nothing has to be cleaned up and
the machine's own network never sees it.
"""

from __future__ import annotations

from pathlib import Path

from cairn.agents.programs import ProgramRunner

_VETH = "ip link add p0 type veth peer name p1"
_CHAIN = "nft add table bridge t && nft add chain bridge t c '{ type filter hook forward priority 0; }'"

#: Feature -> shell commands that succeed only where it is there.
_TRIALS = {
    "bridge": "ip link add b0 type bridge",
    "veth": _VETH,
    "vlan": f"{_VETH} && ip link add link p0 name p0.7 type vlan id 7",
    "vxlan": "ip link add v0 type vxlan id 42 dstport 4789 local 127.0.0.1",
    "nftables": "nft add table inet t && nft add chain inet t c '{ type filter hook forward priority 0; }'",
    "nftables_bridge": _CHAIN,
    "conntrack_bridge": f"{_CHAIN} && nft add rule bridge t c ct state established accept",
    "ipset": "ipset create s hash:ip",
}


class Features:
    """Tries once, and remembers for the life of the agent."""

    def __init__(self, runner: ProgramRunner, root: Path = Path("/")) -> None:
        self._runner = runner
        self._root = root
        self._found: dict[str, bool] = {}

    async def probe(self) -> dict[str, bool]:
        """Feature -> whether it is there."""
        if not self._found:
            found = {name: await self._try(shell) for name, shell in _TRIALS.items()}
            found["vhost_net"] = (self._root / "dev/vhost-net").exists()
            found["bridge_netfilter"] = (self._root / "proc/sys/net/bridge/bridge-nf-call-iptables").exists()
            self._found = found
        return dict(self._found)

    async def _try(self, shell: str) -> bool:
        done = await self._runner.run(["unshare", "--net", "sh", "-c", shell], check=False, timeout_seconds=15)
        return done.returncode == 0
