"""Linux machines as backup storage."""
