"""Hosts that run VMs with libvirt and QEMU."""
