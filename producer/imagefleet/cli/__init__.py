"""The command line `imagefleet`.

- `app`: the command and its sub-commands
- `context`, `exit_codes`: the client and the consoles, the exit codes
- `options`, `job_options`, `option_groups`, `times`: the options of several commands, and of `submit`
- `submit`, `jobs`, `links`, `watch`, `fleet`, `dead_letters`, `webhooks`, `schema`: the sub-commands
- `waits`: why jobs wait that no worker takes
- `job_files`, `downloads`, `contact_sheet`: reads jobs, stores images
- `progress_view`, `top_screen`, `fleet_tables`, `record_table`, `formats`: output for people

May import `imagefleet.client` and what lies below it.
"""

from imagefleet.cli.app import main

__all__ = ["main"]
