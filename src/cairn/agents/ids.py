"""Checks of names that become parts of paths, interface names and configuration files."""

from __future__ import annotations

import ipaddress
import re

from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes

_UUID = re.compile(r"[0-9a-f]{32}\Z")
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


def check_uuid(field: str, value: str) -> str:
    """`value`, if it is 32 lower-case hex digits; else `AgentError` ``agent.bad-request``."""
    return _checked(field, value, _UUID, "32 lower-case hex digits")


def check_interface(field: str, value: str) -> str:
    """`value`, if it can name a network interface; else `AgentError` ``agent.bad-request``."""
    return _checked(field, value, _INTERFACE, "an interface name of 1 to 15 characters")


def check_mac(field: str, value: str) -> str:
    """`value` in lower case, if it is a MAC address; else `AgentError` ``agent.bad-request``."""
    return _checked(field, value.lower(), _MAC, "a MAC address such as fa:01:02:03:04:05")


def check_domain(field: str, value: str) -> str:
    """`value`, if it is a DNS domain; else `AgentError` ``agent.bad-request``."""
    return _checked(field, value, _DOMAIN, "a DNS domain such as example.org")


def check_ip(field: str, value: str) -> str:
    """`value`, if it is an IPv4 address; else `AgentError` ``agent.bad-request``."""
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise AgentError(codes.BAD_REQUEST, f"{field}: found {value!r}; an IPv4 address would fit.") from None


def _checked(field: str, value: str, pattern: re.Pattern[str], fits: str) -> str:
    if not pattern.match(value):
        raise AgentError(codes.BAD_REQUEST, f"{field}: found {value!r}; {fits} would fit.")
    return value
