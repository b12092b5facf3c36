"""Small products of matrices on one thread: on a busy machine, waiting for a second one takes a hundred times as
long.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController

_CONTROLLER = ThreadpoolController()


def one_blas_thread() -> AbstractContextManager:
    """NumPy's linear algebra on one thread, as long as the context lasts."""
    return _CONTROLLER.limit(limits=1, user_api="blas")
