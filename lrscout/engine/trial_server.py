"""The process that trials' processes are forked from: torch is loaded in it once, and user code never.

It is started by lrscout.engine.isolation, and talks to it only. No torch operation runs here: a fork after one that
used several threads would wait for them for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import sys
from multiprocessing.connection import Connection
from traceback import format_exception
from types import TracebackType
from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def main(control_fd: int) -> None:
    """Fork a process for each connection that comes over the control socket, and tell how it ended."""
    import torch
    import torch._dynamo  # noqa: F401  the first optimizer would load it, for three seconds

    control = socket.socket(fileno=control_fd)
    _die_with_parent()
    control.send(b"r")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        child = os.fork()
        if child == 0:
            control.close()
            _become_trial(descriptors[0])
        os.close(descriptors[0])
        _, status = os.waitpid(child, 0)
        control.send(struct.pack("i", status))


def _become_trial(descriptor: int) -> None:
    os.setsid()  # so that the loader's workers end with it
    _die_with_parent()
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where the kernel must kill something, then this
    code = 1
    try:
        _serve(Connection(descriptor))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _die_with_parent() -> None:
    with contextlib.suppress(Exception):  # Linux only; elsewhere a socket that closes tells
        import ctypes

        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


def _serve(connection: Connection) -> None:
    """Answer one request after the other with what it gave, or with the exception and its traceback's text."""
    from lrscout.engine.batch_sizes import Source
    from lrscout.engine.requests import EstimateRequest, Request, cannot_travel
    from lrscout.engine.target import find_target
    from lrscout.engine.trials import Bench
    from lrscout.errors import LrscoutError

    connection.send(os.getpid())
    bench: Bench | None = None
    while True:
        answer: Any = None
        failure: BaseException | None = None
        try:
            target, settings, request = connection.recv()
        except EOFError:
            return
        except Exception as error:  # a class of the caller's script, say
            connection.send((None, cannot_travel(error), None))
            continue
        try:
            if bench is None:
                source = Source(find_target(target), target, settings.batch_arg, settings.seed)
                bench = Bench(source, settings, own_process=True)
            if isinstance(request, Request):
                answer, failure = bench.run(request), bench.failure
            elif isinstance(request, EstimateRequest):
                answer = bench.estimate(request)
            else:
                answer = bench.inspect()
        except (Exception, SystemExit) as error:
            failure = error
        ours = failure if isinstance(failure, LrscoutError) else None
        shown = failure if ours is None else ours.__cause__ if ours.shows_cause else None
        connection.send((answer, ours, None if shown is None else (_summary(shown), _traceback(shown))))
        failure = ours = shown = None  # their tracebacks keep tensors alive


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _traceback(error: BaseException) -> str:
    """The traceback as Python prints it, from the user's first frame on; lrscout's own where there is none."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        each.__traceback__ = _from_users_frame(each.__traceback__) or each.__traceback__
        each = each.__cause__ or each.__context__
    return "".join(format_exception(error)).rstrip("\n")


def _from_users_frame(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and _is_ours(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


def _is_ours(file: str) -> bool:
    return file.startswith((PACKAGE + os.sep, "<frozen importlib")) or f"{os.sep}importlib{os.sep}" in file
