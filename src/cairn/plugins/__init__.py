"""Plugins of the distribution, on the terms that any other plugin has."""
