"""The reference pages of docs/, made from settings, models and docstrings.

- `markdown`: tables and their cells
- `fields`: the fields of pydantic models and settings, with type, limits, default and meaning
- `attributes`: the documented attributes of other classes, read from their source
- `settings_page`, `jobs_page`, `results_page`, `events_page`, `errors_page`, `client_page`: a page each
- `client_examples`: a line for each method of the client
"""
