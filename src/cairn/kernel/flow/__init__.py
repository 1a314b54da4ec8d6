"""Workflows: long operations made of steps that undo themselves, with a journal that survives the process."""
