"""Small matrix products on one thread: on a busy machine, waiting for a second thread takes a hundred times as long."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController

_CONTROLLER = ThreadpoolController()


def one_blas_thread() -> AbstractContextManager:
    """Runs NumPy's linear algebra on one thread within the context."""
    return _CONTROLLER.limit(limits=1, user_api="blas")
