"""Hosts and backup storage that `cairn simulator` simulates."""
