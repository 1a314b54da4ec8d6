"""The steps of the audit plugin."""
