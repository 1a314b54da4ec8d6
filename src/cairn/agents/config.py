"""The agent's configuration file, ``/etc/cairn/agent.json``."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct


class Role(StrEnum):
    """The part that a machine plays in the cloud."""

    KVM = "kvm"
    BACKUP = "backup"


DEFAULT_PORTS = {Role.KVM: 7070, Role.BACKUP: 7171}


class TlsFiles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths of PEM files."""

    ca: str  #: the cloud's own authority
    cert: str  #: this machine's certificate
    key: str  #: its private key, mode 0600


class AgentConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that an agent needs before a node can talk to it."""

    address: str = "127.0.0.1"  #: where to listen; an IP address
    port: int | None = None  #: None: 7070 for kvm, 7171 for backup
    tls: TlsFiles | None = None  #: None: plain HTTP, refused unless `address` is loopback
    data_dir: str = "/var/lib/cairn-agent"
    role: Role | None = None  #: None: as ``--role`` says; when both are given they must agree
    storage_path: str = "/var/lib/cairn-backup"  #: backup role: where images are kept
    file_url_dirs: list[str] = []  #: backup role: ``file://`` URLs are read from below these folders only
    libvirt_uri: str = "qemu:///system"  #: kvm role
    deployment: str = ""  #: what was put on the machine, by a name of the node's; the ping tells it

    def listen_port(self, role: Role) -> int:
        """The port to listen on."""
        return self.port if self.port is not None else DEFAULT_PORTS[role]


class ConfigError(Exception):
    """The configuration cannot be used; the message says what to change."""


def load(path: Path | None, role: Role) -> AgentConfig:
    """Read and check the configuration for `role`. None, or no such file at the default place: the defaults.

    Raises:
        ConfigError: with the file, the field and what would fit.
    """
    config = AgentConfig()
    if path is not None:
        try:
            config = msgspec.json.decode(path.read_bytes(), type=AgentConfig)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}: {error}") from error
    check(config, role)
    return config


def check(config: AgentConfig, role: Role) -> None:
    """Refuse a configuration that would be unsafe or cannot work.

    Raises:
        ConfigError: with what to change.
    """
    if config.role is not None and config.role is not role:
        raise ConfigError(f"role: the file says {config.role}, --role says {role}; make them agree")
    try:
        address = ipaddress.ip_address(config.address)
    except ValueError:
        raise ConfigError(f"address: found {config.address!r}; an IP address would fit") from None
    if config.tls is None and not address.is_loopback:
        raise ConfigError(
            f"tls: missing, and address {config.address} is not loopback; anybody could send commands. "
            "Give ca, cert and key, or listen on 127.0.0.1"
        )
