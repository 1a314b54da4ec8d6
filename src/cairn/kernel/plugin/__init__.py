"""Plugins: manifests, extension points, loading and leaving out."""
