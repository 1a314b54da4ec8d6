"""The kernel: bus, queues, workflows, jobs, store, query, plugins. It knows no noun of the cloud."""
