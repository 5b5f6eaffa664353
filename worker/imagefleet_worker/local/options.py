"""The types of the options of `imagefleet up`."""

from pathlib import Path
from typing import Annotated

import typer

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="[ALIAS=]SOURCE",
        show_default=False,
        help="A folder, or a Hugging Face repository id; repeatable with an alias each. Default: "
        "IMAGEFLEET_MODEL_SOURCE, else a tiny model that draws simple scenes.",
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        envvar="IMAGEFLEET_MODEL_REVISION",
        show_envvar=False,
        help="Commit, branch or tag of the repository. Default: main at the first start, that commit at later starts.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Number of workers. Default: one for each CUDA device, or one for each model on the CPU."),
]
RedisPort = Annotated[
    int | None, typer.Option(help="Port of the embedded Redis. Default: 6379, or a free one if it is taken.")
]
S3Port = Annotated[
    int | None, typer.Option(help="Port of the embedded S3. Default: 9000, or a free one if it is taken.")
]
Data = Annotated[Path, typer.Option(help="Folder for all that the fleet keeps: queue, images, secret, logs.")]
