"""The Hugging Face hub, through its own library: what a repository holds, and its files.

The library is kept silent, and whatever goes wrong in it is one sentence here. Files land in its own cache, which it
also uses without a network (HF_HUB_OFFLINE included).
"""

from __future__ import annotations

import errno
import inspect
import logging
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foredraft.core.errors import SourceError, UsageError

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all, 0 when unknown) while weights are fetched."""


@dataclass(frozen=True)
class Listing:
    """A repository at one commit. files: name -> bytes (0 when the hub does not say)."""

    revision: str
    files: dict[str, int]


# What the disk has to do with, and another try or another source has not.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}


class DiskTrouble(SourceError):
    """Nothing can be written where it has to be."""


class Unreachable(SourceError):
    """There is no way to the hub."""


@dataclass(frozen=True)
class Hub:
    """endpoint: another hub than huggingface.co (None: $HF_ENDPOINT, or that). cache: None is the library's own."""

    endpoint: str | None = None
    cache: Path | None = None

    def listing(self, repository: str) -> Listing:
        """What `repository` holds. Raises Unreachable, SourceError (not to be had) or UsageError (no hub id)."""
        if not self._resolves():
            raise _unreachable(repository)
        with self._calling(repository) as hub:
            api = hub.HfApi(endpoint=self.endpoint)
            about = api.model_info(repository, files_metadata=True)
        return Listing(str(about.sha), {str(file.rfilename): int(file.size or 0) for file in about.siblings or ()})

    def file(
        self,
        repository: str,
        name: str,
        *,
        revision: str | None = None,
        folder: Path | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """The path of one file, in `folder` or else in the hub's cache. Raises as `listing` does."""
        local = not self._resolves()
        if local and folder is not None:
            raise _unreachable(repository)
        with self._calling(repository) as hub:
            options: dict[str, Any] = {"revision": revision, "local_dir": folder, "local_files_only": local}
            if "tqdm_class" in inspect.signature(hub.hf_hub_download).parameters:  # not in its first versions
                options["tqdm_class"] = _bar(progress)
            path = hub.hf_hub_download(repository, name, endpoint=self.endpoint, cache_dir=self.cache, **options)
        return Path(path)

    def cached(self, repository: str) -> Path:
        """The directory of a repository that was fetched before. Raises Unreachable when there is none."""
        with self._calling(repository) as hub:
            return Path(hub.snapshot_download(repository, local_files_only=True, cache_dir=self.cache))

    def _resolves(self) -> bool:
        """False when the hub's name means nothing here; asked because the library would retry for half a minute."""
        if urllib.request.getproxies():
            return True  # then the proxy looks names up
        host = urllib.parse.urlsplit(
            self.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
        ).hostname
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return False
        return True

    @contextmanager
    def _calling(self, repository: str) -> Iterator[Any]:
        """The hub library, silent, its errors made ours."""
        import huggingface_hub as hub
        from huggingface_hub import errors

        logger = logging.getLogger("huggingface_hub")
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield hub
        except errors.HFValidationError:
            raise UsageError(f"{repository!r} is not a hub id: write organisation/name") from None
        except errors.GatedRepoError:
            raise SourceError(
                f"the hub gives {repository} only to those who accepted its terms: do so on its page and log in with "
                "`hf auth login`"
            ) from None
        except errors.LocalEntryNotFoundError:
            raise _unreachable(repository) from None
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
            raise SourceError(f"the hub has no {repository}, or hides it from you: check the name") from None
        except errors.EntryNotFoundError:
            raise SourceError(f"the hub's {repository} has no such file: check its name") from None
        except errors.HfHubHTTPError as error:
            raise SourceError(f"the hub refuses {repository} ({_status(error)}): try again later") from None
        except OSError as error:
            if error.errno in DISK:
                raise DiskTrouble(
                    f"cannot write {repository} to disk ({error.strerror}): free space or access"
                ) from None
            raise _unreachable(repository) from None
        except Exception:  # the library lets errors of its transport through, which differ by version
            raise _unreachable(repository) from None
        finally:
            logger.setLevel(level)


def _unreachable(repository: str) -> Unreachable:
    return Unreachable(f"the hub cannot be reached and {repository} is not on disk: connect, or give a path")


def _status(error: Any) -> str:
    return f"HTTP {getattr(getattr(error, 'response', None), 'status_code', '?')}"


def _bar(progress: Progress | None) -> type:
    """What the library takes for a progress bar: it prints nothing and tells `progress`."""
    from tqdm.std import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, total: float | None = None, initial: float = 0, **options: Any) -> None:
            self.done, self.whole = int(initial), int(total or 0)
            super().__init__(*args, total=total, initial=initial, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self.done += int(n or 0)
            if progress is not None:
                progress(self.done, self.whole)

    return Bar
