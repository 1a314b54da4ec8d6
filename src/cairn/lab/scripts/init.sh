#!/bin/sh
# Process 1 of a lab host; installed as /etc/cairn-lab/init. Starts sshd and the boot scripts,
# then reaps orphans for ever: without that, libvirtd waits for ever for the QEMU it probes.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
cd /
umask 022
mkdir -p /run/sshd /run/lock

# Left there once, when the disk was made.
if [ -e /etc/cairn-lab/password ]; then
    chpasswd --crypt-method SHA512 </etc/cairn-lab/password && rm /etc/cairn-lab/password
fi

/usr/sbin/sshd -E /var/log/sshd.log

# Scripts that run on this host after every boot, in the order of their names.
for script in /etc/cairn-lab/boot.d/*; do
    if [ -x "$script" ]; then
        echo "boot: $script"
        "$script" </dev/null || echo "boot: $script ended with $?"
    fi
done &

while :; do
    sleep 86400 &
    wait $!
done
