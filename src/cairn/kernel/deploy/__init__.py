"""How a program of ours gets onto a machine and is trusted there: certificates, SSH, Ansible runs, wheels.

Knows no cloud noun: a machine here is an address with a login, what is put on it is a playbook's business.
"""
