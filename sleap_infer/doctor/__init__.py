"""`sleap-infer doctor`: run every backend and reader on known frames, and suggest fixes.

    components ──▶ checks ──▶ probe_handle ──▶ probe_main ──▶ causes ──▶ report
                              one process      imports, opens,
                              per check        predicts, compares

To check something new, add it to `components` and to `probe_main` or `check_readers`. To recognise a cause, add a rule
to `causes`. Backends come from `runners.registry`.
"""
