"""What other texts teach: on recorded answers, drafts of a fixed size by a drafter that keeps what it met before.

    past_texts.py [-m smollm2] --suite FILE.jsonl [--limit-per-task 6] [--max-tokens 128] [--nodes 3,7]
                  [--drafters recycling recycling:context=2 suffix …] [--passed-on 0.1] [--out FILE]

The model answers the first turns at temperature 0, and of every row its likeliest tokens are kept. Then the answers are
said again in rounds, in an order drawn from a fixed seed: the drafter's best so many nodes, of which those are taken
that are right, and what was committed is learnt (rows of rejected drafts were never computed). Each drafter does so
three ways: `alone`, every text beginning with nothing of the others; `unlike`, all of one tenant; `again`, the same
texts to that tenant a second time. Prints a JSON line for each drafter: tokens a round; of `suffix` also, of tokens
offered for the next place by matches in the text itself (own) and in others (past), by what they claim, the share that
came.
--passed-on: what a row of `recycling` weighs when a request is closed.
"""

from __future__ import annotations

import argparse
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from records import tell
from successors import EDGES, Answer, answer

from foredraft import load
from foredraft.bench.suites import limited, load_suite
from foredraft.core.protocols import Ask, Budget, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft import recycling, specify
from foredraft.draft.family import Provided
from foredraft.draft.native import TWINS
from foredraft.draft.recycling import Recycling
from foredraft.draft.suffix import Suffix
from foredraft.models.tokens import PlainTokens

DEPTH = 24
OFFERED = 8  # for a place
VOCAB = 1 << 20  # draft laws of points name it; nothing here looks at them


def said_again(drafter: Any, state: Any, one: Answer, nodes: int) -> int:
    """Rounds in which the answer is said, at most `nodes` drafted in each."""
    text = list(one.prompt)
    at = rounds = 0
    while at < len(one.tokens):
        ask = Ask(state, text, Rules(), Budget(nodes, DEPTH), "coupled", KeyedStream(0), VOCAB)
        (tree,) = drafter.propose([ask])
        right = _right(tree, one.tokens[at:-1])
        for token, top in zip(one.tokens[at : at + right + 1], one.tops[at : at + right + 1], strict=True):
            if isinstance(drafter, Recycling):
                state.table.learn(text[-drafter.options.context :], *top)
            else:
                state.history.extend([token])
            text.append(token)
        at, rounds = at + right + 1, rounds + 1
    return rounds


def _right(tree: DraftTree, tokens: Sequence[int]) -> int:
    """How many of the tokens were drafted."""
    node = ROOT
    for count, token in enumerate(tokens):
        following = tree.child(node, token)
        if following is None:
            return count
        node = following
    return len(tokens)


def figures(drafter: Any, answers: Sequence[Answer], nodes: int) -> dict[str, float]:
    """Tokens a round: `alone`, `unlike`, `again`."""
    if not isinstance(drafter, Recycling | Suffix):
        raise SystemExit("only recycling and suffix learn from past texts")
    tokens, rounds = sum(len(one.tokens) for one in answers), Counter[str]()
    for way in ("alone", "unlike", "again"):
        for one in answers:
            state = drafter.open(Request(one.prompt, 0, tenant=None if way == "alone" else "one"))
            rounds[way] += said_again(drafter, state, one, nodes)
            drafter.close(state)
    return {way: round(tokens / count, 2) for way, count in rounds.items()}


def claims(drafter: Suffix, answers: Sequence[Answer]) -> dict[str, list[dict[str, float]]]:
    """Tokens offered for the next place: how many, what they claimed, and what came; each text sees those before it."""
    tallies: dict[str, dict[int, list[float]]] = {whose: defaultdict(lambda: [0, 0.0, 0]) for whose in ("own", "past")}
    options = drafter.options
    for one in answers:
        state = drafter.open(Request(one.prompt, 0, tenant="one"))
        for token in one.tokens:
            text, context = state.history, state.history.tokens[-options.depth :]
            own = [(text.tokens, True, text.own_matches(options.depth), options.doubt)]
            past = [
                (p.history.tokens, False, p.matches(context, until), options.past_doubt) for p, until in state.pasts
            ]
            for whose, sources in (("own", own), ("past", past)):
                sources = [source for source in sources if len(source[2])]
                tokens, _, chances = TWINS.continuations(sources, OFFERED, 1, 0.0) if sources else ((), (), ())
                for guess, chance in zip(tokens, chances, strict=True):
                    tally = tallies[whose][bisect_left(EDGES, chance)]
                    for place, more in enumerate((1, chance, guess == token)):
                        tally[place] += more
            text.extend([token])
        drafter.close(state)
    return {
        whose: [
            {"offered": int(count), "claimed": round(claimed / count, 2), "came": round(hits / count, 2)}
            for _, (count, claimed, hits) in sorted(found.items())
        ]
        for whose, found in tallies.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="What other texts teach a drafter.")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--suite", default="builtin")
    parser.add_argument("--limit-per-task", type=int, default=6)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--nodes", default="3,7")
    parser.add_argument("--drafters", nargs="+", default=["recycling", "suffix"])
    parser.add_argument("--passed-on", type=float, default=recycling.PASSED_ON)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    recycling.PASSED_ON = options.passed_on
    with load(options.model, "none") as llm:
        provided = Provided(tokenizer=PlainTokens(llm.tokenizer))
        prompts = limited(load_suite(options.suite), options.limit_per_task)
        answers = [answer(llm, prompt.task, prompt.turns[0], options.max_tokens) for prompt in prompts]
    random.Random(0).shuffle(answers)
    for spelling in options.drafters:
        spec = specify(spelling)
        lengths = {
            nodes: figures(
                spec.family.build(spec.options, provided), answers, int(nodes)
            )  # a new one, that has met nothing
            for nodes in options.nodes.split(",")
        }
        found: dict[str, Any] = {"tokens_a_round": lengths}
        fresh = spec.family.build(spec.options, provided)
        if isinstance(fresh, Suffix):
            found["claims"] = claims(fresh, answers)
        told = {"model": options.model, "drafter": spelling, "answers": len(answers), "passed_on": options.passed_on}
        tell({**told, **found}, options.out)


if __name__ == "__main__":
    main()
