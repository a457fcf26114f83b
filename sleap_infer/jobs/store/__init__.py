"""The journal: `job.json`, one SQLite file of results per process, locks and leases, and columns of poses."""
