"""The command line. Errors are one sentence on stderr with the remedy; a traceback only with --debug."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `foredraft` script: exit status 0, 1 failure, 2 wrong use, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit status."""
    from typer.exceptions import Abort, Exit, TyperException

    from foredraft.cli.app import command
    from foredraft.core.errors import ForedraftError

    debug = "--debug" in arguments
    try:
        status = command()(args=[word for word in arguments if word != "--debug"], standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Exit as stop:
        return stop.exit_code
    except (KeyboardInterrupt, Abort):
        return 130
    except BrokenPipeError:  # the reader has gone: nobody is left to tell
        sys.stderr.close()
        return 1
    except TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except ForedraftError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_status)
    except Exception as error:
        if debug:
            raise
        return _fail(f"{type(error).__name__}: {error} (run again with --debug for the details)", 1)


def _fail(message: str, status: int) -> int:
    sentence = " ".join(message.split())
    print(f"foredraft: {sentence}", file=sys.stderr)
    return status
