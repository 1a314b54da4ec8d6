"""Codes of `Failure`s, which agents, the simulator and the management node share.

A code is stable and part of the contract; the sentence that comes with it may improve. Each is a constant, with what
has happened when an agent answers it.
"""

from __future__ import annotations

from typing import Final

NO_SPACE: Final = "agent.no-space"
"""The file system has no room for what was asked for. Nothing is left of the attempt."""

NOT_AN_IMAGE: Final = "agent.not-an-image"
"""The fetched file is not a disk image (an HTML page, an archive, an empty file). Nothing is left of it."""

WRONG_FORMAT: Final = "agent.wrong-format"
"""It is an image, but not of the format that the caller named."""

IMAGE_TOO_LARGE: Final = "agent.image-too-large"
"""The download or the image's virtual size is over the caller's limit."""

BACKING_FILE: Final = "agent.backing-file"
"""The image refers to another file (a backing file or an external data file), which is never followed."""

DOWNLOAD_FAILED: Final = "agent.download-failed"
"""The URL could not be fetched: no such host, refused, an HTTP error, a redirect to another scheme, a missing file."""

DOWNLOAD_REFUSED: Final = "agent.download-refused"
"""The URL, or a redirect of it, leads to an address that images may not come from. Nothing was connected to there."""

CHECKSUM: Final = "agent.checksum"
"""The fetched file does not have the SHA-256 that was asked for."""

PATH_REFUSED: Final = "agent.path-refused"
"""The path is relative, has ``..`` in it, is a system folder, or is outside of every prepared storage folder."""

VM_NOT_RUNNING: Final = "agent.vm-not-running"
"""The command needs a running VM (reboot), and the VM is not running."""

MISSING_FILE: Final = "agent.missing-file"
"""A file that the command builds on is not there: a disk of a VM to start, the backing image of a new volume."""

MISSING_BRIDGE: Final = "agent.missing-bridge"
"""A bridge that the command builds on is not there: for a NIC of a VM to start, for a DHCP server."""

EXISTS: Final = "agent.exists"
"""A file is at the path already and is not what was asked for (another size or backing). It is left alone."""

UNKNOWN_COMMAND: Final = "agent.unknown-command"
"""The agent has no command of that name; it is older than the management node, or of another kind."""

BAD_REQUEST: Final = "agent.bad-request"
"""The request or the command's body does not decode, or a value is out of its range."""

HYPERVISOR: Final = "agent.hypervisor"
"""libvirt or QEMU refused; the message has its own words."""

BUSY: Final = "agent.busy"
"""The thing to be changed or removed is in use: a disk or a bridge of a running VM, a host that still has VMs."""

DEADLINE: Final = "agent.deadline"
"""The request's `deadline_seconds` passed before the work was done; it was given up."""

FORBIDDEN: Final = "agent.forbidden"
"""The caller's certificate is not the management node's."""

CANCELLED: Final = "agent.cancelled"
"""The caller took the task back before it was done; the work has ended and its temporary files are gone."""

STOPPED: Final = "agent.stopped"
"""The agent was stopped while it was working; the task can be sent again."""

COMMAND_FAILED: Final = "agent.command-failed"
"""A program of the machine (ip, nft, qemu-img, …) failed; the message has what it said."""

MISSING_FEATURE: Final = "agent.missing-feature"
"""The machine lacks a program that the command needs."""

MISSING_INTERFACE: Final = "agent.missing-interface"
"""A network interface, or an address that the machine should have, is not there."""

MISSING_ACCELERATOR: Final = "agent.missing-accelerator"
"""KVM was asked for, and does not work on this machine."""

NO_MEMORY: Final = "agent.no-memory"
"""The machine has not enough free memory to start the VM."""

STALE_EPOCH: Final = "agent.stale-epoch"
"""The command's epoch is lower than one that was heard for its resource: another node has taken over. Nothing was done."""

HYPERVISOR_UNAVAILABLE: Final = "agent.hypervisor-unavailable"
"""libvirtd does not answer; also the answer to a ping then, with status 503."""

INTERNAL: Final = "agent.internal"
"""A bug in the agent; its log has the trace."""

ALL: Final = frozenset(
    {
        NO_SPACE,
        NOT_AN_IMAGE,
        WRONG_FORMAT,
        IMAGE_TOO_LARGE,
        BACKING_FILE,
        DOWNLOAD_FAILED,
        DOWNLOAD_REFUSED,
        CHECKSUM,
        PATH_REFUSED,
        VM_NOT_RUNNING,
        MISSING_FILE,
        MISSING_BRIDGE,
        EXISTS,
        UNKNOWN_COMMAND,
        BAD_REQUEST,
        HYPERVISOR,
        BUSY,
        DEADLINE,
        CANCELLED,
        INTERNAL,
        FORBIDDEN,
        STOPPED,
        COMMAND_FAILED,
        MISSING_FEATURE,
        MISSING_INTERFACE,
        MISSING_ACCELERATOR,
        NO_MEMORY,
        STALE_EPOCH,
        HYPERVISOR_UNAVAILABLE,
    }
)
"""Every code that an agent may answer."""
