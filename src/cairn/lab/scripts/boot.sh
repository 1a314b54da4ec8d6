#!/bin/sh
# The first breath of a lab host: runs as process 1 in fresh mount, uts, ipc and process
# namespaces, builds the host's file system, makes it the root, and becomes the host's init.
#
#   boot.sh MARK HOST FOLDER SOURCE TREE...
#
# MARK tells whose process this is, FOLDER holds the host's disk, SOURCE is its init, and each
# TREE is a file system of the machine that the host sees through an overlay of its own ("/"
# first). All mounts made here end with this namespace.
set -eu
mark=$1 host=$2 folder=$3
shift 3
root=$folder/root

for tree in "$@"; do
    layer=$folder/disk$tree
    mount -t overlay overlay \
        -o "lowerdir=$tree,upperdir=${layer%/}/upper,workdir=${layer%/}/work" "$root${tree%/}"
done

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
mkdir "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty kvm net/tun fuse; do
    if [ -c "/dev/$device" ]; then cp -a "/dev/$device" "$root/dev/$device"; fi
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"

# The machine's file system goes out of sight and reach.
mkdir "$root/run/machine"
cd "$root"
pivot_root . run/machine
umount -l /run/machine
rmdir /run/machine
hostname "$host"
exec /etc/cairn-lab/init "$mark"
