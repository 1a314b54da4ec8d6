"""The command line: everything that the API can do, for people and scripts."""
