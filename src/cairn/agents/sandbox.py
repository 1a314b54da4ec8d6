"""A closed room for programs that read files of strangers: `qemu-img`, today.

A program that parses a hostile file may be taken over by it. What it can reach then is what this room has in it: the
one file (read-only, as `IMAGE`), the machine's programs and libraries (read-only), and ``/dev/null``. It has a user of
its own with no privileges, sees no other process, has no network, and may use little memory, time and nothing of the disk.

Root is needed to build the room, and gone before the program begins. An agent that is not root (on a developer's machine)
has no privileges to take away; there the program only keeps the limits.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError
from cairn.agents.programs import Completed, ProgramRunner
from cairn.agents.protocol import codes

IMAGE: Final = "/image"
"""The path of the file, as the program's arguments name it."""

USER: Final = 65_533
"""The user and group of programs in the room. Debian reserves the number and gives it to nobody."""

_LIMITS = ("--as=1073741824", "--cpu=60", "--fsize=0", "--core=0", "--nofile=64", "--nproc=512")
_TIMEOUT_SECONDS = 120.0
_NOT_BUILT = 125  #: the exit code of a room that could not be built

#: $1: an empty folder, which becomes the room; $2: the file; then the program. The shell stays: it is the first process of
#: the room, so its end is the end of all in it, whatever they have become meanwhile.
_BUILD = """
room=$1 file=$2; shift 2
shut() { mount --bind "$1" "$2" && mount -o "remount,bind,ro,nosuid,nodev$3" "$2"; }
build() {
    mount -t tmpfs -o mode=0755,nosuid,nodev,size=2m room "$room" &&
    mkdir "$room/usr" "$room/etc" "$room/dev" && : >"$room/image" && : >"$room/dev/null" &&
    shut /usr "$room/usr" && shut "$file" "$room/image" ,noexec && mount --bind /dev/null "$room/dev/null" || return 1
    for folder in bin sbin lib lib32 lib64; do
        if [ -L "/$folder" ]; then cp -P "/$folder" "$room/$folder" || return 1
        elif [ -d "/$folder" ]; then mkdir "$room/$folder" && shut "/$folder" "$room/$folder" || return 1
        fi
    done
    if [ -f /etc/ld.so.cache ]; then cp /etc/ld.so.cache "$room/etc/" || return 1; fi
    mount -o remount,ro "$room"
}
build || exit 125
chroot "$room" "$@"
exit $?
"""
_CLEAN = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C")
_ALONE = ("unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child")
_NOBODY = (
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
    "--inh-caps=-all",
)


async def run_closed(runner: ProgramRunner, argv: Sequence[str], path: Path) -> Completed:
    """Run `argv` in a room with the file `path`, which `argv` calls `IMAGE`. The file is left readable by others.

    Raises:
        AgentError: ``agent.missing-feature`` when this machine cannot build the room; the program is not run then.
            ``agent.command-failed`` when the program took longer than two minutes.
    """
    limited = ["prlimit", *_LIMITS]
    if os.geteuid() != 0:
        program = [str(path) if part == IMAGE else part for part in argv]
        line = [*_CLEAN, *limited, "setpriv", "--no-new-privs", *program]
        return await runner.run(line, check=False, timeout_seconds=_TIMEOUT_SECONDS)
    room = await in_thread(_prepare, path)
    try:
        line = [*_CLEAN, *_ALONE, "sh", "-c", _BUILD, "room", str(room), str(path), *limited, *_NOBODY, *argv]
        done = await runner.run(line, check=False, timeout_seconds=_TIMEOUT_SECONDS)
    finally:
        await in_thread(room.rmdir)  # never its content: were it still mounted, that would be the machine's own
    if done.returncode == _NOT_BUILT or done.stderr.startswith("unshare:"):
        raise AgentError(
            codes.MISSING_FEATURE,
            f"This machine cannot build the sandbox in which files of strangers are read: {done.stderr.strip()[-300:]}. "
            "The agent has to be root, with mount and namespaces of the kernel (unshare, mount, chroot).",
        )
    return done


def _prepare(path: Path) -> Path:
    """Make the folder of a room, and the file readable for the user in it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & stat.S_IROTH:
        path.chmod(mode | stat.S_IROTH)
    return Path(tempfile.mkdtemp(prefix="cairn-room-"))
