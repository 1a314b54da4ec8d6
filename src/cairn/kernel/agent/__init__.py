"""Calls to agents on managed machines: a thin HTTP transport, and typed calls that survive a lost answer."""
