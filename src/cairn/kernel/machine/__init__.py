"""Machines with an agent: adding, connecting, calling, watching and removing them."""
