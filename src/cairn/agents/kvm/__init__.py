"""The agent of a KVM host."""
