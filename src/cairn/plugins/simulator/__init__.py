"""The simulator plugin."""
