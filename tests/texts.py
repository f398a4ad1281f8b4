"""Strings to try tokenizers on, from a seed: many scripts, code, white space, digits, emoji, marks, literals, noise."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence

SCRIPTS = (
    (0x61, 0x7A),  # Latin
    (0xC0, 0x24F),
    (0x370, 0x3FF),  # Greek and Coptic, with its holes
    (0x400, 0x52F),  # Cyrillic
    (0x531, 0x587),  # Armenian
    (0x591, 0x5F4),  # Hebrew, with its points
    (0x600, 0x6FF),  # Arabic
    (0x900, 0x97F),  # Devanagari
    (0xB80, 0xBFF),  # Tamil
    (0xE01, 0xE5B),  # Thai
    (0x10A0, 0x10FF),  # Georgian
    (0x1100, 0x11FF),  # Hangul as jamo, which NFC composes
    (0x1E00, 0x1EFF),
    (0x3041, 0x30FF),  # kana
    (0x4E00, 0x9FFF),  # Han
    (0xAC00, 0xD7A3),  # Hangul
    (0xFB00, 0xFB4F),  # presentation forms
    (0xFF01, 0xFFEE),  # wide forms
    (0x10330, 0x1034A),  # Gothic
    (0x1D400, 0x1D7FF),  # mathematical letters
    (0x20000, 0x2A6DF),  # rare Han
)
SENTENCE = (
    "the quick brown fox jumps over lazy dogs and Doesn't you'll I'M they've 'S we'D Größe naïve straße Ünïcödé don’t "
    "http://example.org/path?q=1&r=two user_name@mail.example 3.14159 1e-10 0xDEADBEEF v1.2.3 $5.00 C++ “quoted” «a»"
)
CODE = (
    "def main(argv: list[str]) -> int:\n    return sum(len(a) ** 2 for a in argv)\n",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\r\n}\n",
    "<div class='x'><p>Text &amp; more</p></div><table><tr><td>1</td></tr></table>\n",
    'SELECT * FROM t WHERE a != "b" AND c >= 7;  -- done\n',
    '{"key": [1, 2.5, null, true], "other": {"a\\n": "\\u00e9"}}',
    "#!/bin/sh\nset -eu\nprintf '%s\\n' \"$@\" | sort -u >/tmp/out 2>&1\n",
    "\\begin{align}\n  x^2 &= \\frac{a}{b} \\\\\n\\end{align}",
    "==== ---- **** ____ //// #### ~~~~ .... !!!! ++++",
)
SPACES = (*" \n\t\r\v\f\x1c\x85\u00a0\u2003\u2028\u3000\u200b", "  ", "\n\n", "\r\n")
EMOJI = ("😀", "👩‍👩‍👧‍👦", "🇫🇷", "👍🏽", "❤️", "🧿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "1️⃣", "©", "™", "♠")
MARKS = (*"\u0301\u0344\u0f73\ufb01\u212b", "e\u0301", "a\u0308\u0323", "n\u0303", "\u05e9\u05c1", "\u1100\u1161")
CONTROLS = (*"\x00\x01\x07\x7f\u200d\u202e\ufeff\ufffd\ufffe\ufdd0\u2581", "\x1b[0m")


def texts(count: int, seed: int, literals: Sequence[str] = ()) -> list[str]:
    """`count` strings without lone surrogates, the same for the same arguments; the first few are short edge cases.

    literals: spellings of tokens that are not text; whole or broken ones turn up in the strings.
    """
    choose = random.Random(seed)
    edges = ["", " ", "  ", "\n", "\t", "a", " a", "a ", "\u2581", "\x00", "é", "日", "🧿", *literals, *CODE]
    makers = [_words, _words, _script, _script, _code, _spaces, _digits, _emoji, _marks, _noise, _repeated, _long]
    if literals:
        makers.append(lambda choose: _spellings(choose, literals))

    def text() -> str:
        parts = [choose.choice(makers)(choose) for _ in range(choose.choice((1, 1, 2, 3, 5)))]
        return choose.choice(("", " ", "\n")).join(parts)

    return [*edges[:count], *(text() for _ in range(count - len(edges)))]


def _words(choose: random.Random) -> str:
    words = SENTENCE.split()
    words = [choose.choice(words) for _ in range(choose.randint(1, 12))]
    return " ".join(word.title() if choose.random() < 0.2 else word for word in words)


def _script(choose: random.Random) -> str:
    first, last = choose.choice(SCRIPTS)
    words = ("".join(_assigned(choose, last + 1, first) for _ in range(choose.randint(1, 9))) for _ in range(4))
    return choose.choice((" ", "", "، ", "。")).join(words)


def _code(choose: random.Random) -> str:
    code = choose.choice(CODE)
    begin = choose.randrange(len(code))
    return code[begin : begin + choose.randint(1, 60)]


def _spaces(choose: random.Random) -> str:
    runs = (choose.choice(SPACES) * choose.choice((1, 1, 2, 3, 7, 16, 33, 70)) for _ in range(choose.randint(1, 4)))
    return choose.choice(("", "x", ",", "é")).join(runs)


def _digits(choose: random.Random) -> str:
    first = choose.choice((0x30, 0x30, 0x660, 0x966, 0xFF10, 0x1D7CE))  # zero, in several scripts
    number = "".join(chr(first + choose.randrange(10)) for _ in range(choose.randint(1, 20)))
    return number + choose.choice(("", "%", "½", "²", "Ⅷ", "\u0301"))


def _emoji(choose: random.Random) -> str:
    return "".join(choose.choice(EMOJI) for _ in range(choose.randint(1, 5)))


def _marks(choose: random.Random) -> str:
    return "".join(choose.choice((*MARKS, "x", " ")) for _ in range(choose.randint(1, 8)))


def _noise(choose: random.Random) -> str:
    def letter() -> str:
        kind = choose.random()
        if kind < 0.2:
            return choose.choice(CONTROLS)
        return chr(choose.randrange(0x80)) if kind < 0.5 else _assigned(choose, 0x3000 if kind < 0.8 else 0x110000)

    return "".join(letter() for _ in range(choose.randint(1, 24)))


def _assigned(choose: random.Random, end: int, first: int = 0) -> str:
    """Any character but half of a surrogate pair. The classes of unassigned ones depend on who is asked."""
    while True:
        letter = chr(choose.randrange(first, end))
        if unicodedata.category(letter) not in ("Cn", "Cs"):
            return letter


def _repeated(choose: random.Random) -> str:
    unit = "".join(choose.choice("aab-=._*#/ hé日") for _ in range(choose.randint(1, 3)))
    return unit * choose.randint(2, 40)


def _long(choose: random.Random) -> str:
    """A very long word now and then."""
    if choose.random() < 0.9:
        return _words(choose)
    letters = choose.choice(("etaoinshrdlu", "acgt", "01", "日本語", "=-"))
    return "".join(choose.choice(letters) for _ in range(choose.randint(200, 3000)))


def _spellings(choose: random.Random, literals: Sequence[str]) -> str:
    literal = choose.choice(literals)
    cut = choose.randint(0, len(literal))
    return choose.choice((literal, literal, literal[:cut], literal[cut:], literal[:cut] + " " + literal[cut:]))
