"""`imagefleet dead`: messages that no worker could finish."""

import typer

app = typer.Typer(help="Messages that no worker could finish: look, send again, or delete.", no_args_is_help=True)


@app.callback()
def _callback() -> None: ...
