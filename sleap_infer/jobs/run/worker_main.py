"""A worker process of jobs: it reads requests from stdin and writes answers to stdout.

    python -m sleap_infer.jobs.run.worker_main

Logs and output of libraries go to stderr. The worker ends when stdin ends, because its parent has ended.
"""

from __future__ import annotations

import logging
import queue
import signal
import sys
import threading
from typing import IO

from sleap_infer.errors import SleapInferError
from sleap_infer.jobs.run.protocol import Answer, Failed, LogLine, Look, Open, Request, receive, send
from sleap_infer.jobs.run.source_facts import look
from sleap_infer.jobs.run.worker_session import Session
from sleap_infer.reports import PROGRESS
from sleap_infer.system.child_process import leave, pipe_to_parent
from sleap_infer.system.printable import OneLine
from sleap_infer.system.unexpected_errors import explain
from sleap_infer.tuning import tune_process


class AnswerHandler(logging.Handler):
    """Send answers and log lines, one at a time.

    Args:
        out: pipe to the parent.
    """

    def __init__(self, out: IO[bytes]) -> None:
        super().__init__(logging.INFO)
        self._out = out

    def send(self, answer: Answer) -> None:
        """Send an answer."""
        with self.lock or threading.RLock():
            send(self._out, answer)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a log line."""
        self.send(LogLine(record.levelno, record.getMessage()))


def main() -> None:
    """Serve requests until stdin ends."""
    tune_process()
    out = pipe_to_parent()
    for name in ("SIGINT", "SIGHUP"):  # the process that sends the requests decides when to stop
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    handler = AnswerHandler(out)
    logging.getLogger("sleap_infer").addHandler(handler)
    others = logging.StreamHandler()
    others.setFormatter(OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[others])
    for name in ("sleap_infer", "py.warnings"):
        logging.getLogger(name).propagate = False
    logging.getLogger(PROGRESS).setLevel(logging.INFO)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    session: Session | None = None
    while True:
        request = requests.get()
        try:
            if isinstance(request, Open):
                session = Session(request, handler.send)
            elif isinstance(request, Look):
                handler.send(look(request))
            else:
                assert session is not None
                session.run(request, handler.send)
        except SleapInferError as error:
            handler.send(Failed(type(error).__name__, str(error)))
        except BaseException as error:
            handler.send(Failed("WorkerError", explain(error)))


def _listen(requests: queue.SimpleQueue[Request]) -> None:
    stream = sys.stdin.buffer
    while (request := receive(stream)) is not None:
        requests.put(request)
    leave(0)


if __name__ == "__main__":
    main()
