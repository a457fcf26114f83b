"""Run tasks. Parent: scheduler, supervisor, worker_handle. Child: worker_main, worker_session, range_runner."""
