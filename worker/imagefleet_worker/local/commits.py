"""`Commits`: which commit of a repository a fleet serves, asked for once and kept for the next start."""

import json
import re
from pathlib import Path
from typing import Final

import httpx

from imagefleet.errors import SettingsInvalid, reason_of

_COMMIT: Final = re.compile("[0-9a-f]{40}")
_MAIN: Final = "main"
_TIMEOUT_S: Final = 15
_REFUSED: Final = (401, 403, 404)


class Commits:
    """The commits of repositories of Hugging Face, kept in the file *path*."""

    def __init__(self, path: Path, *, offline: bool = False) -> None:
        """Use *path*, which need not exist; *offline*: ask nobody."""
        self._path = path
        self._offline = offline

    def commit_of(self, repository: str, revision: str | None) -> str:
        """The commit to serve of *repository*.

        A *revision* that is a commit is taken as it is; a branch or tag is looked up each time. Without one it is the
        commit that an earlier start has kept, or what `main` stands for now.

        Raises:
            SettingsInvalid: if it cannot be found out.
        """
        if revision and _COMMIT.fullmatch(revision):
            return revision
        kept = self._read()
        if not revision and repository in kept:
            return kept[repository]
        commit = self._look_up(repository, revision or _MAIN)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({**kept, repository: commit}, indent=2) + "\n")
        return commit

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        pairs = kept.items() if isinstance(kept, dict) else ()
        return {str(name): str(commit) for name, commit in pairs if _COMMIT.fullmatch(str(commit))}

    def _look_up(self, repository: str, revision: str) -> str:
        from huggingface_hub import constants, get_token  # noqa: PLC0415  # a folder needs none of it

        way_out = "; give its commit with --revision, or a folder with --model"
        if self._offline or constants.HF_HUB_OFFLINE:
            raise SettingsInvalid(f"{repository}: the commit of {revision!r} cannot be asked for offline{way_out}")
        token = get_token()
        url = f"{constants.ENDPOINT}/api/models/{repository}/revision/{revision}"
        try:
            answer = httpx.get(
                url,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=_TIMEOUT_S,
                follow_redirects=True,
            )
        except httpx.TransportError as error:
            raise SettingsInvalid(
                f"{repository}: {constants.ENDPOINT} cannot be reached for the commit of {revision!r}: "
                f"{reason_of(error)}{way_out}"
            ) from error
        if answer.status_code in _REFUSED:
            raise SettingsInvalid(
                f"{repository}: {constants.ENDPOINT} shows no revision {revision!r} of it (HTTP {answer.status_code}). "
                "Is the name right? Set HF_TOKEN for a private or gated repository"
            )
        return _sha(answer, repository)


def _sha(answer: httpx.Response, repository: str) -> str:
    try:
        commit = str(answer.raise_for_status().json()["sha"])
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
        raise SettingsInvalid(
            f"{repository}: {answer.url} answered with HTTP {answer.status_code} and no commit; try again, or give "
            "--revision"
        ) from error
    if not _COMMIT.fullmatch(commit):
        raise SettingsInvalid(f"{repository}: {answer.url} names no commit but {commit!r}; give --revision")
    return commit
