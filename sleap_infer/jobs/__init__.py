"""Batch jobs that lose nothing: many videos, a journal of every frame, workers that may end at any moment.

`run_job` does all of it; `job` says in which steps.
"""

from sleap_infer.jobs.api import run_job
from sleap_infer.jobs.events import JobOptions, TaskReport
from sleap_infer.jobs.plan.inputs import find_tasks
from sleap_infer.jobs.plan.naming import Outputs
from sleap_infer.jobs.plan.selection import read_frames
from sleap_infer.jobs.plan.tasks import Models, Task

__all__ = ["JobOptions", "Models", "Outputs", "Task", "TaskReport", "find_tasks", "read_frames", "run_job"]
