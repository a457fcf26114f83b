"""Run jobs on clusters: Ray and SLURM."""
