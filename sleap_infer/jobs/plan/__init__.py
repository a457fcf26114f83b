"""Before a job runs: inputs, names of outputs, tasks, their identity, and checks."""
