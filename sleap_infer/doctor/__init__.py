"""`sleap-infer doctor`: what works on this machine, found out by doing it, and what mends what does not.

    subjects ──▶ checks ──▶ probe, a process of its own for each ──▶ causes ──▶ report
                            imports, opens, predicts, compares

To add a check: a line in `subjects`, and how it is done in `probe`. To add a cause: a rule in `causes`.
"""
