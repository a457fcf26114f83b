"""Run tasks. Parent side: scheduler, supervisor, worker_handle. Child side: worker_main, worker_session, range_runner."""
