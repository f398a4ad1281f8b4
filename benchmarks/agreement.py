"""How often a draft of one token stands, computed rather than drawn: coupled with the target's noise, or by its law.

Along texts that the target says itself, both models' laws p and q are read at every position, and from them exactly
  ratio    sum min(p, q): a draft drawn from q alone, judged by its law (Leviathan et al. 2211.17192, theorem 3.5)
  coupled  sum over i of 1 / sum over j of max(p_j / p_i, q_j / q_i): the draft and the target's token, drawn with the
           same Gumbel noise, are equal (Daliri, Musco, Suresh 2408.07978, section 3)
No verdict is drawn by chance, so few texts tell more than many rounds would. Positions are those of plain decoding.

  agreement.py [-m MODEL] [--draft MODEL | early_exit] [--suite FILE] [--prompts N] [--max-tokens N] --out FILE.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import foredraft
from foredraft import LLM, SamplingParams
from foredraft.bench.suites import load_suite
from foredraft.core.protocols import Model, Query
from foredraft.draft.early_exit import Options
from foredraft.models.tokenizer import same_vocabulary

Laws = NDArray[np.float64]
TEMPERATURES = (0.3, 0.7, 1.0, 1.3)


def ratio(p: Laws, q: Laws) -> float:
    return float(np.minimum(p, q).sum())


def coupled(p: Laws, q: Laws) -> float:
    """By falling p / q: for token i all j before it count as p_j / p_i, all after it as q_j / q_i."""
    both = (p > 0) & (q > 0)
    only_p, only_q = p[~both].sum(), q[~both].sum()
    p, q = p[both], q[both]
    order = np.argsort(q / p)
    p, q = p[order], q[order]
    before, after = only_p + np.cumsum(p), only_q + q.sum() - np.cumsum(q)
    return float((1 / (before / p + after / q)).sum())


def laws(model: Model, text: Sequence[int], begin: int, vocabulary: int) -> NDArray[np.float64]:
    """Logits [positions, vocabulary] of the tokens from `begin` on."""
    cache, wanted = model.open(), tuple(range(begin - 1, len(text) - 1))
    [scores] = model.score([Query(cache, tuple(text), tuple(range(-1, len(text) - 1)), wanted)])
    found = np.stack([scores.logits(row)[:vocabulary] for row in wanted]).astype(np.float64)
    cache.close()
    return found


def softmax(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    scaled = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    found: NDArray[np.float64] = scaled / scaled.sum(axis=1, keepdims=True)
    return found


def prompts_of(suite: str, count: int) -> list[Any]:
    """As many from every task as may be."""
    every = load_suite(suite)
    places = np.linspace(0, len(every), min(count, len(every)), endpoint=False).astype(int)
    return [every[place] for place in places]


def texts(llm: LLM, options: argparse.Namespace, temperature: float) -> Iterator[tuple[tuple[int, ...], int]]:
    for seed, prompt in enumerate(prompts_of(options.suite, options.prompts)):
        ids = llm.encode_chat([{"role": "user", "content": prompt.turns[0]}])
        params = SamplingParams(temperature=temperature, max_tokens=options.max_tokens, seed=seed)
        yield (*ids, *llm.generate(ids, params).token_ids), len(ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--draft", default="early_exit")
    parser.add_argument("--suite", default="builtin")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with foredraft.load(options.model, "none") as llm:
        target = llm.loaded.model
        if options.draft == "early_exit":
            draft = target.view(Options().chosen(target.about.layers))
        else:
            second = foredraft.load(options.draft, "none")
            if difference := same_vocabulary(second.tokenizer, llm.tokenizer):
                sys.exit(f"{options.draft} has another vocabulary than {options.model}: {difference}")
            draft = second.loaded.model
        vocabulary, rows = min(target.about.vocab_size, draft.about.vocab_size), []
        for temperature in TEMPERATURES:
            means = []  # of each text, which are alike within and different from each other
            for text, begin in texts(llm, options, temperature):
                pairs = zip(*(softmax(laws(one, text, begin, vocabulary), temperature) for one in (target, draft)))
                means.append(np.mean([(ratio(p, q), coupled(p, q)) for p, q in pairs], axis=0).tolist())
            rows.append({"temperature": temperature, "texts": means})
            print(temperature, np.mean(means, axis=0))
    setup = {"model": options.model, "draft": options.draft, "suite": options.suite, "max_tokens": options.max_tokens}
    options.out.write_text(json.dumps({**setup, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
