"""The journal: `job.json`, one SQLite file (shard) per process, locks and leases, and columns of poses."""
