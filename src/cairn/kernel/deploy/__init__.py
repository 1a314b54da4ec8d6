"""Puts programs of ours on machines that then trust them: certificates, SSH, Ansible runs, wheels.

Knows no cloud noun: a machine here is an address with a login, and a playbook says what is put on it.
"""
