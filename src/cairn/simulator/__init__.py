"""Simulated hosts: a process of its own that answers the real agents' commands over HTTP, out of a pure world."""
