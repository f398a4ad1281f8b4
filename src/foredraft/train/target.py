"""The target as training sees it: a frozen transformers model that answers prompts and shows its hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from foredraft.core.errors import UsageError
from foredraft.heads import files
from foredraft.models import hf_load
from foredraft.models.fingerprint import fingerprint_of
from foredraft.models.hf_modules import Body
from foredraft.models.known import KNOWN
from foredraft.models.sources import Source, resolve
from foredraft.models.tokenizer import Tokenizer
from foredraft.train.corpus import Speaker, Text
from foredraft.train.remembered import Remembered
from foredraft.train.taps import Taps

GROUPED = "foredraft_grouped"
LLAMA = {
    "input_layernorm.weight": "attention_norm.weight",
    "post_attention_layernorm.weight": "hidden_norm.weight",
    "self_attn.q_proj.weight": "attention.query.weight",
    "self_attn.k_proj.weight": "attention.key.weight",
    "self_attn.v_proj.weight": "attention.value.weight",
    "self_attn.o_proj.weight": "attention.out.weight",
    "mlp.gate_proj.weight": "gate.weight",
    "mlp.up_proj.weight": "up.weight",
    "mlp.down_proj.weight": "down.weight",
}
"""What transformers calls the tensors of a llama's layer -> what they are called in a head's."""


def grouped(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **rest: Any
) -> tuple[Tensor, None]:
    """Attention of one new token a text: heads that share keys read them together, where transformers copies the keys
    for every head, which for many texts takes longer than all else."""
    texts, heads, rows, size = query.shape
    if rows > 1 or rest.get("scaling") is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
        return out
    scores = query.reshape(texts, key.shape[1], -1, size) @ key.transpose(-1, -2) * rest["scaling"]
    if attention_mask is not None:
        shown = attention_mask[..., : key.shape[2]]
        scores = scores.masked_fill(~shown, -torch.inf) if shown.dtype == torch.bool else scores + shown
    mixed = scores.float().softmax(-1).to(value.dtype) @ value
    return mixed.reshape(texts, 1, heads, size), None


# The documented ways to bring an attention function and its mask along, found by name in a model's configuration.
transformers.AttentionInterface.register(GROUPED, grouped)
AttentionMaskInterface.register(GROUPED, sdpa_mask)


def has_gpu() -> bool:
    return bool(torch.cuda.is_available())


@dataclass(frozen=True)
class Rows:
    """Texts side by side: prompts end and responses begin at column `start + 1`.

    ids, positions, real: [texts, columns].
    """

    ids: Tensor
    positions: Tensor
    real: Tensor
    start: int


@dataclass(frozen=True)
class Columns(Rows):
    """What the target makes of them. hidden: [texts, columns, taps, width]; embedded and last, the final normed states:
    [texts, columns, width]."""

    hidden: Tensor
    embedded: Tensor
    last: Tensor


class TorchTarget:
    """Frozen. device: cpu or cuda; dtype: of the weights, by torch's name. kept: hidden states that are read from
    disk, or computed once. final_norm: its weights, as stored."""

    def __init__(self, name: str, device: str, dtype: str, kept: Taps | Remembered | None = None) -> None:
        self.source: Source = resolve(name)
        self.tokenizer = Tokenizer.from_source(self.source)
        # In float32 first: the fingerprint is of the norm as stored.
        model: Any = hf_load.load(self.source.path, self.source.kind, device="cpu", dtype="float32", threads=None)
        self.final_norm: Tensor = Body.of(model).norm_weight().cpu().clone()
        self._fingerprint, self.kept = fingerprint_of(self.final_norm.numpy()), kept
        if isinstance(kept, Taps) and kept.about.fingerprint != self._fingerprint:
            raise UsageError(f"{kept.folder} has states of another target, {kept.about.target}: give that one by -m")
        self.model: Any = hf_load.placed(model, device, dtype)
        self.model.requires_grad_(False)
        self.model.generation_config = transformers.GenerationConfig()  # penalties of the file are not what is served
        self.model.set_attn_implementation(GROUPED)
        self._norm: Any = Body.of(self.model).gate.norm
        self.device = torch.device(self.model.device)

    @property
    def name(self) -> str:
        """As it is known; for a path, the file's own."""
        return self.source.name if self.source.name in KNOWN else self.source.path.stem

    @property
    def speaker(self) -> Speaker:
        """As texts name it."""
        return Speaker(self.name, self._fingerprint)

    @property
    def epsilon(self) -> float:
        """Of its norms."""
        return float(self.model.config.to_dict().get("rms_norm_eps", 1e-6))

    @property
    def head(self) -> Tensor:
        """[vocabulary, width]"""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight

    @property
    def norm(self) -> Tensor:
        """[width]: what the final norm multiplies with."""
        return Body.of(self.model).norm_weight()

    def last_layer(self) -> dict[str, Tensor] | None:
        """The tensors of the last layer by the names that heads have for them (`heads/layers.py`); None where it has
        others than a llama's."""
        state = {name: value.float().cpu() for name, value in Body.of(self.model).layers[-1].state_dict().items()}
        return {own: state[name] for name, own in LLAMA.items()} if state.keys() == LLAMA.keys() else None

    @property
    def about(self) -> files.Target:
        config = self.model.config
        return files.Target(
            self.name, config.hidden_size, config.num_hidden_layers, self.tokenizer.size, self._fingerprint
        )

    def rows(self, texts: Sequence[Text]) -> Rows:
        """Whole texts, before any pass."""
        before, after = max(len(text.prompt) for text in texts), max(len(text.response) for text in texts)
        ids = np.zeros((len(texts), before + after), dtype=np.int64)
        real = np.zeros(ids.shape, dtype=bool)
        for row, text in enumerate(texts):
            whole = [*text.prompt, *text.response]
            first = before - len(text.prompt)
            ids[row, first : first + len(whole)] = whole
            real[row, first : first + len(whole)] = True
        mask = torch.from_numpy(real).to(self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        return Rows(torch.from_numpy(ids).to(self.device), positions, mask, before - 1)

    def last(self, rows: Rows, texts: Sequence[Text] = ()) -> Tensor:
        """The final normed states, [texts, columns, width], and nothing else of a pass. texts: those of the rows, where
        states that are kept of them may be read."""
        with torch.inference_mode():
            if self.kept is not None and texts:
                kept: Tensor = self._norm(self._known(self.kept, rows, texts, (self.about.layers,))[:, :, 0])
                return kept.to(self.head.dtype)
            found: Tensor = self._pass(rows, False).last_hidden_state
        return found

    def columns(self, texts: Sequence[Text], taps: Sequence[int], *, learn: bool = False) -> Columns:
        """One pass over whole texts, or none where the states are kept. taps: after how many layers
        hidden states are wanted, 0 to all of them. learn: with gradients, for a target that is trained too."""
        with torch.enable_grad() if learn else torch.inference_mode():
            rows = self.rows(texts)
            if self.kept is None:
                states, last = self._walk(rows)
                hidden, embedded = _after(states, taps), states[0]
            else:
                layers = tuple(dict.fromkeys((*taps, self.about.layers)))  # once each
                found = self._known(self.kept, rows, texts, layers)
                hidden = found if layers == tuple(taps) else found[:, :, [layers.index(tap) for tap in taps]]
                embedded = self.model.get_input_embeddings()(rows.ids)
                last = self._norm(found[:, :, layers.index(self.about.layers)])
        return Columns(rows.ids, rows.positions, rows.real, rows.start, hidden, embedded, last)

    def _known(self, kept: Taps | Remembered, rows: Rows, texts: Sequence[Text], layers: tuple[int, ...]) -> Tensor:
        """[texts, columns, layers, width] without a pass over what is kept already, 0 where there is no text."""
        shape = (*rows.ids.shape, len(layers), self.about.width)
        if isinstance(kept, Taps):
            read = torch.zeros(shape)
            _lay(read, rows, texts, lambda text: torch.from_numpy(kept.of(text, layers)))
            return read.to(self.device)
        fresh = self._fresh(kept, [text for text in texts if text.response and text not in kept], layers)
        states = self.head.new_zeros(shape)
        _lay(states, rows, texts, lambda text: fresh[text] if text in fresh else kept.of(text, layers))
        return states

    def _fresh(self, kept: Remembered, texts: Sequence[Text], layers: tuple[int, ...]) -> dict[Text, Tensor]:
        """[tokens, layers, width] of texts seen for the first time, which are remembered from now on."""
        if not texts:
            return {}
        rows, found = self.rows(texts), dict[Text, Tensor]()
        states = _after(self._walk(rows)[0], layers)
        for row, text in enumerate(texts):
            first = _first(rows, text)
            found[text] = states[row, first : first + len(text.prompt) + len(text.response)]
            kept.add(text, layers, found[text])
        return found

    def _walk(self, rows: Rows) -> tuple[list[Tensor], Tensor]:
        """States after 0, 1, … all layers, as these leave them, and the last one normed."""
        entered: list[Tensor] = []  # the final norm: what transformers shows after the last layer is normed already
        seen = self._norm.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        try:
            out = self._pass(rows, True)
        finally:
            seen.remove()
        return [*out.hidden_states[:-1], entered[0]], out.last_hidden_state

    def _pass(self, rows: Rows, hidden: bool) -> Any:
        return self.model.model(
            input_ids=rows.ids,
            attention_mask=rows.real.long(),
            position_ids=rows.positions,
            use_cache=False,
            output_hidden_states=hidden,
        )

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def answer(
        self, prompts: Sequence[tuple[int, ...]], most: int, temperature: float, seed: int, *, model: Any = None
    ) -> Iterator[tuple[int, ...]]:
        """The responses, the token that ends them included, of at most `most` tokens. model: another one's, of the same
        vocabulary."""
        before = max(map(len, prompts))
        stops = sorted(self.tokenizer.stop_ids)
        ids = torch.full((len(prompts), before), stops[0], dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, before - len(prompt) :] = torch.tensor(prompt)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            mask[row, before - len(prompt) :] = 1
        torch.manual_seed(seed)
        chance = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        found = (self.model if model is None else model).generate(
            ids.to(self.device),
            attention_mask=mask.to(self.device),
            max_new_tokens=most,
            eos_token_id=stops,
            pad_token_id=stops[0],
            top_k=None,
            top_p=None,
            synced_gpus=False,  # processes draw texts of their own, or none: what is sharded is whole by then
            **chance,
        )
        for row in found[:, before:].tolist():
            end = next((place + 1 for place, token in enumerate(row) if token in self.tokenizer.stop_ids), len(row))
            yield tuple(row[:end])

    def close(self) -> None:
        """Lets go of the weights."""
        self.model = self._norm = None


def _after(states: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
    """[texts, columns, layers, width]"""
    return torch.stack([states[layer] for layer in layers], dim=2)


def _first(rows: Rows, text: Text) -> int:
    """The column where a text begins."""
    return rows.start + 1 - len(text.prompt)


def _lay(states: Tensor, rows: Rows, texts: Sequence[Text], own: Callable[[Text], Tensor]) -> None:
    """Puts every text's, [tokens, layers, width], where its tokens are."""
    for row, text in enumerate(texts):
        if text.response:  # else nothing of it counts
            found, first = own(text), _first(rows, text)
            states[row, first : first + len(found)] = found
