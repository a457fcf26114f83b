"""The report of a benchmark: its JSON schema, statistics, ranking, comparison with an older one, and its page."""
