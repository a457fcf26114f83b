"""The export check: compare the poses of two ways to run a model, and decide within a budget."""
