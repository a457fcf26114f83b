"""The command line. One file a command; each imports what it needs when it runs, so that `--help` waits for nothing."""

from sleap_infer.cli.app import main

__all__ = ["main"]
