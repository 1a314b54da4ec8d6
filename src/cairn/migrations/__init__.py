"""The core's database migrations."""
