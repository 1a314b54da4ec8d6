"""Commands on files of a simulated host or backup server; `commands` says what holds for all of them."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import msgspec

from cairn.agents.protocol import codes
from cairn.agents.protocol.storage import (
    CacheImage,
    Capacity,
    CreateVolume,
    DeleteFile,
    DownloadImage,
    GetCapacity,
    ImageInfo,
    InitStorage,
    VolumeInfo,
)
from cairn.agents.protocol.wire import Done
from cairn.simulator import images
from cairn.simulator.refusal import Refused
from cairn.simulator.world import BACKUP, SimFile, SimHost, World

_EMPTY_QCOW2_BYTES = 196_616
_SYSTEM = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
)
_TOP = ("/", "/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/var", "/var/lib")  # noqa: S108 - refused, not used


def init_storage(world: World, host: SimHost, command: InitStorage) -> Capacity:
    """Take the folder as storage; system folders are refused, as a real agent does."""
    path = _clean_path(command.path)
    if path in _TOP or path.startswith(tuple(f"{folder}/" for folder in _SYSTEM)) or path in _SYSTEM:
        raise Refused(
            codes.PATH_REFUSED, f"{path} is a system folder. Name a folder of its own, as /var/lib/cairn-storage."
        )
    if path not in host.storage:
        host.storage.append(path)
    return space(host, path)


def get_capacity(world: World, host: SimHost, command: GetCapacity) -> Capacity:
    """Report the size of the disk, and how much of it is free."""
    return space(host, _clean_path(command.path))


def cache_image(world: World, host: SimHost, command: CacheImage) -> ImageInfo:
    """Copy the image from the backup server, if it is not here yet."""
    _check_in_storage(host, command.path)
    image = host.images.get(command.path)
    if image is None:
        source = _on_backup(world, command.url, command.sha256)
        if source.sha256 != command.sha256:
            raise Refused(
                codes.CHECKSUM, f"{command.url} has SHA-256 {source.sha256}, not {command.sha256}. Add it again."
            )
        if source.format != command.format:
            raise Refused(codes.WRONG_FORMAT, f"{command.url} is {source.format}, not {command.format}.")
        if source.virtual_size_bytes > command.max_virtual_size_bytes:
            raise Refused(codes.IMAGE_TOO_LARGE, f"{command.url} unpacks to {source.virtual_size_bytes} bytes.")
        _need_space(host, source.actual_size_bytes)
        image = msgspec.structs.replace(source, path=command.path)
        host.add_file(host.images, image)
    return _image_info(image)


def download_image(world: World, host: SimHost, command: DownloadImage) -> ImageInfo:
    """Download an image onto the backup server."""
    _clean_path(command.path)
    image = host.images.get(command.path)
    if image is None:
        images.check_reach(command.url, command.denied_networks, command.allowed_networks)
        got = images.fetch(command.url, command.format, command.max_bytes)
        _need_space(host, got.actual_size_bytes)
        image = SimFile(
            path=command.path,
            format=got.format,
            virtual_size_bytes=got.virtual_size_bytes,
            actual_size_bytes=got.actual_size_bytes,
            sha256=got.sha256,
        )
        host.add_file(host.images, image)
    return _image_info(image)


def create_volume(world: World, host: SimHost, command: CreateVolume) -> VolumeInfo:
    """Make an overlay over a cached image, or an empty volume."""
    _check_in_storage(host, command.path)
    if command.size_bytes < 0:
        raise Refused(codes.BAD_REQUEST, f"size_bytes: found {command.size_bytes}; 0 or more fits.")
    size = command.size_bytes
    if command.backing_path is not None:
        backing = host.images.get(command.backing_path)
        if backing is None:
            raise Refused(
                codes.MISSING_FILE, f"There is no image {command.backing_path} on {host.name}. Cache it first."
            )
        if command.backing_format is not None and command.backing_format != backing.format:
            raise Refused(codes.WRONG_FORMAT, f"{backing.path} is {backing.format}, not {command.backing_format}.")
        size = max(size, backing.virtual_size_bytes)
    volume = host.volumes.get(command.path)
    if volume is None:
        if command.path in host.images:
            raise Refused(codes.EXISTS, f"{command.path} is a cached image. Choose another path for the volume.")
        _need_space(host, _EMPTY_QCOW2_BYTES)
        volume = SimFile(
            path=command.path,
            format="qcow2",
            virtual_size_bytes=size,
            actual_size_bytes=_EMPTY_QCOW2_BYTES,
            backing_path=command.backing_path,
        )
        host.add_file(host.volumes, volume)
    elif volume.virtual_size_bytes != size or volume.backing_path != command.backing_path:
        raise Refused(
            codes.EXISTS,
            f"{command.path} is there with {volume.virtual_size_bytes} bytes over {volume.backing_path}. "
            "Delete it, or choose another path.",
        )
    return VolumeInfo(
        path=volume.path, virtual_size_bytes=volume.virtual_size_bytes, actual_size_bytes=volume.actual_size_bytes
    )


def delete_file(world: World, host: SimHost, command: DeleteFile) -> Done:
    """Delete a volume or image, unless a VM or volume uses it."""
    if host.name == BACKUP:
        _clean_path(command.path)
    else:
        _check_in_storage(host, command.path)
    user = host.taken.get(command.path)
    if user is not None:
        raise Refused(codes.BUSY, f"{command.path} is a disk of the running VM {user}. Stop it first.")
    if command.path in host.images:
        for volume in host.volumes.values():
            if volume.backing_path == command.path:
                raise Refused(codes.BUSY, f"{command.path} is the backing image of {volume.path}. Delete that first.")
    host.remove_file(command.path)
    return Done()


def _clean_path(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise Refused(codes.PATH_REFUSED, f"{path!r} is not an absolute path without '..'.")
    return path.rstrip("/") or "/"


def _check_in_storage(host: SimHost, path: str) -> None:
    _clean_path(path)
    if not any(path.startswith(f"{folder}/") for folder in host.storage):
        raise Refused(codes.PATH_REFUSED, f"{path} is in no storage folder of {host.name}. Prepare its folder first.")


def _need_space(host: SimHost, size_bytes: int) -> None:
    if host.available_bytes < size_bytes:
        raise Refused(
            codes.NO_SPACE,
            f"{host.name} has {host.available_bytes} bytes free, {size_bytes} are needed. Free some space.",
        )


def space(host: SimHost, folder: str) -> Capacity:
    """The one disk of the host, which all its folders are on; files count for the first of them."""
    return Capacity(
        total_bytes=host.machine.disk_bytes,
        available_bytes=max(host.available_bytes, 0),
        used_bytes=host.files_bytes if folder in host.storage[:1] else 0,
        file_system="disk",
    )


def _on_backup(world: World, url: str, sha256: str) -> SimFile:
    """Find the image that `url` means: by the path in it, by its file name, or by what it should contain."""
    stored = world.hosts[BACKUP].images
    path = unquote(urlsplit(url).path)
    for image in stored.values():
        if path.endswith(image.path):
            return image
    named = [image for image in stored.values() if image.path.rpartition("/")[2] == path.rpartition("/")[2]]
    if len(named) == 1:
        return named[0]
    for image in stored.values():
        if image.sha256 == sha256:
            return image
    raise Refused(codes.DOWNLOAD_FAILED, f"{url}: the backup server has no such image. Add the image again.")


def _image_info(image: SimFile) -> ImageInfo:
    return ImageInfo(
        path=image.path,
        format=image.format,
        virtual_size_bytes=image.virtual_size_bytes,
        actual_size_bytes=image.actual_size_bytes,
        sha256=image.sha256,
    )
