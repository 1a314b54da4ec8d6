"""Whose word is taken for the address of a client: that of the proxies that the operator names, and of nobody else."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from cairn.kernel.error import invalid


class Proxies:
    """The proxies that stand before the API.

    Args:
        text: their addresses and networks, separated by commas.

    Raises:
        CairnError: ``settings.bad-value``.
    """

    def __init__(self, text: str = "") -> None:
        try:
            self._networks = [ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()]
        except ValueError:
            raise invalid(
                "settings.bad-value", "CAIRN_TRUSTED_PROXIES", text, "10.0.0.1,10.1.0.0/16 would fit"
            ) from None

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The client's address.

        Args:
            peer: who is connected.
            forwarded_for: what the request's ``X-Forwarded-For`` says. Of its addresses the last one counts that is no
                proxy's: what stands before it may be made up by the client.
        """
        found = peer
        for said in reversed((forwarded_for or "").split(",")):
            if not said.strip() or not self._are_trusted(found):
                break
            found = said.strip()[:100]
        return found

    def _are_trusted(self, address: str) -> bool:
        try:
            one = ip_address(address)
        except ValueError:
            return False
        one = getattr(one, "ipv4_mapped", None) or one
        return any(one in network for network in self._networks)
