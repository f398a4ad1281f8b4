"""Everyone: each drafter as an audit asks for it, those that need a second model or a file too.

What they need is made from what is there: the second model is the target again, loaded so that it is sometimes wrong
(it can say its commonest tokens only), and the texts to retrieve from are the package's prompts, without answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from foredraft.audit.identical import meets_all
from foredraft.bench.entrants import Variant, every, listed
from foredraft.draft import AUTO, line_up

# Tokens a round of drafters other than `auto`, whatever a policy would make of them: an audit wants rejections.
LENGTH = 6
TEXTS = "builtin.jsonl"
SPECIFIED: Mapping[str, str] = {
    "ahead": "ahead:model={target},head=4000",
    "blind": "blind:source=frequent",  # a uniform guess is never right
    "corpus": f"corpus:file={TEXTS},min=1",
    "model": "model:model={target},quantize=int4,head=4000",
    "staged": "staged:model={target},head=4000",
    "translate": "translate:model={target},head=4000",
}
"""How drafters are written whose plain name is not enough, or would show nothing."""
IDLE: Mapping[str, str] = {"forced": "it drafts only what a grammar leaves no choice about, which is never rejected"}
"""Who has nothing to show, and why."""


def everyone(target: str, folder: str) -> tuple[list[Variant], dict[str, str]]:
    """All drafters, `auto` first; and those that cannot take part, and why. target, folder: as in `named`."""
    able, unable = every()
    found = [AUTO, *sorted({*able, *SPECIFIED} - {*IDLE})]
    left = {name: reason for name, reason in unable.items() if name not in SPECIFIED}
    return [_variant(SPECIFIED.get(name, name), target, folder) for name in found], {**IDLE, **left}


def named(text: str, target: str, folder: str) -> list[Variant]:
    """The drafters of `a,b:option=1,c`; a name alone stands for what SPECIFIED says. Raises UsageError.

    target: the audited model, as it was asked for. folder: where an index of texts may be kept.
    """
    written = ",".join(SPECIFIED.get(item.strip(), item) for item in text.split(","))
    return [_variant(name, target, folder) for name in listed(written)]


def _variant(written: str, target: str, folder: str) -> Variant:
    length = None if meets_all(written) or line_up(written).fixed is not None else LENGTH
    name = written.format(target=target) if written in SPECIFIED.values() else written
    if written == SPECIFIED["corpus"]:
        here = str(files("foredraft.bench") / TEXTS)
        return Variant(name, f"{name.replace(TEXTS, here)},cache={folder}", length)
    return Variant(name, name, length)
