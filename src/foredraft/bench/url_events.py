"""Server-sent events out of bytes, however the network cuts them: in the middle of a line, or of a character."""

from __future__ import annotations

import re

LONGEST = 1 << 20  # bytes of one event: more is no token
FIELDS = (b"data", b"event", b"id", b"retry", b"")  # a line that begins with a colon is a comment
_END = re.compile(rb"\r\n|\n|\r")


class BadStream(ValueError):
    """What came is no stream of events; the message says what it is instead."""


class Events:
    """One stream. Only the data of an event is of use here: its name and number are passed over."""

    def __init__(self, longest: int = LONGEST) -> None:
        self.longest = longest
        self._rest = b""  # of a line that has not ended
        self._returned = False  # whether the last byte was a carriage return, which may be half of an end of line
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that `chunk` completes. Raises BadStream for what is none, or is not UTF-8."""
        if not chunk:
            return []
        *lines, self._rest = _END.split(self._rest + (chunk.removeprefix(b"\n") if self._returned else chunk))
        self._returned = chunk.endswith(b"\r")
        found = []
        for line in lines:
            if line:
                self._field(line)
            elif self._data:
                found.append(_text(b"\n".join(self._data)))
                self._data = []
        if len(self._rest) + sum(map(len, self._data)) > self.longest:
            raise BadStream(f"an event of more than {self.longest} bytes")
        return found

    def _field(self, line: bytes) -> None:
        name, colon, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        if not colon or name not in FIELDS:
            raise BadStream(f"a line that is no event: {excerpt(line)}")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


def excerpt(content: bytes, length: int = 120) -> str:
    """The beginning of what a server sent, fit for a message."""
    return repr(content[:length].decode("utf-8", "replace")) + (" …" if len(content) > length else "")


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise BadStream(f"data that is not UTF-8: {excerpt(content)}") from None
