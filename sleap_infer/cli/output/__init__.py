"""Everything that the commands print: lines, progress, JSON. Only `terminal` writes to stdout and stderr."""
