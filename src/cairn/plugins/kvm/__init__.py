"""The kvm plugin."""
