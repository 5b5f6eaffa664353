"""A stock Celery app as its documentation has it, to compare with."""

import os

from celery import Celery

_url = os.environ.get("STOCK_REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("stock", broker=_url, backend=_url)
app.conf.update(task_default_queue="stock", broker_connection_retry_on_startup=True)


@app.task(name="stock.noop")
def noop() -> None:
    """Do nothing."""
