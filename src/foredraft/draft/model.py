"""A smaller model drafts: a chain, a tree of a given shape, or the tree of its likeliest paths.

Speculative decoding as first described (Leviathan et al. 2211.17192; Chen et al. 2302.01318). How a token is chosen
follows the verifier: with the target's own noise for `match` (2408.07978), independently and with its law for ratio
verifiers, siblings without replacement (Sequoia, 2402.12374). The draft's law is warped by the request's own rules, so
bias, penalties and grammar hold for the draft too. The draft cache catches up from the committed tokens every round;
there is no case for "all accepted".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.errors import UsageError
from foredraft.core.law import Ids
from foredraft.core.protocols import Ask, Model, Needs, News, Query, Request, Thrift
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.family import Family, Provided
from foredraft.draft.model_laws import LANES
from foredraft.draft.model_tree import KEPT, Branch, DraftState, Growth, Shape

# Rows of a catch-up pass.
CHUNK = 512
# Tokens of a long prompt that are read by default.
WINDOW = 1024
WIDEST = 64  # nodes a level of a dynamic tree expands


@dataclass(frozen=True)
class Options:
    model: str = field(metadata={"help": "the draft model: a known name, a path or a hub id"})
    tree: str = field(default="", metadata={"help": "children a node by depth, as in 3x2x1; a chain by default"})
    dynamic: int = field(default=0, metadata={"help": "a tree instead: so many of the likeliest nodes grow a level"})
    depth: int = field(default=0, metadata={"help": "tokens a path may have; 0 for as many as may be drafted"})
    threshold: float = field(default=0.0, metadata={"help": "stop after a token of less probability (as HF: 0.4)"})
    quantize: str = field(default="", metadata={"help": "int8 or int4, for the draft model; as stored by default"})
    head: int = field(default=0, metadata={"help": "tokens the draft model may say, the commonest; 0 for all"})
    head_text: str = field(default="", metadata={"help": "a text file that shows which tokens are common"})
    window: int = field(
        default=WINDOW, metadata={"help": "tokens of a longer prompt that are read, its last; 0 for all"}
    )

    def __post_init__(self) -> None:
        if self.tree and not all(width.isdecimal() and 0 < int(width) < LANES for width in self.tree.split("x")):
            raise UsageError(f"tree of drafter 'model' must be widths joined by x, as in 3x2x1, not {self.tree!r}")
        if self.tree and self.dynamic:
            raise UsageError("drafter 'model' takes tree, a fixed shape, or dynamic, a growing one: give one of them")
        if self.dynamic > WIDEST:
            raise UsageError(f"dynamic of drafter 'model' must be at most {WIDEST}, not {self.dynamic}")
        if self.window < 0:
            raise UsageError(f"window of drafter 'model' must be a number of tokens, or 0 for all, not {self.window}")
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold of drafter 'model' must be from 0 to 1, not {self.threshold:g}")
        if self.quantize not in ("", "int8", "int4"):
            raise UsageError(f"quantize of drafter 'model' must be int8 or int4, not {self.quantize!r}")
        if self.head_text and not self.head:
            raise UsageError("head_text of drafter 'model' says which tokens a head of head=N keeps: give head too")

    @property
    def shape(self) -> Shape:
        widths = tuple(int(width) for width in self.tree.split("x")) if self.tree else ()
        return Shape(widths, self.dynamic, self.depth, self.threshold)

    @property
    def needs(self) -> Needs:
        return Needs(model=self.model, thrift=Thrift(self.quantize or None, self.head, self.head_text or None))


class ModelDrafter:
    """Drafts with a model of its own; all sequences of a round share its passes."""

    needs = Needs(reads=True)

    def __init__(
        self,
        model: Model,
        widths: tuple[int, ...] = (),
        *,
        shape: Shape | None = None,
        says: Ids | None = None,
        window: int = 0,
    ) -> None:
        """widths: children a node by depth, empty for a chain; or any shape. says: the tokens the model can say,
        ascending, where they are not all (Provided.says). window: tokens it reads of a longer text, 0 for all."""
        self.model = model
        self.shape = shape if shape is not None else Shape(widths)
        self.says = says
        self.window = window

    def open(self, request: Request, parent: DraftState | None = None) -> DraftState:
        if parent is None:
            return DraftState([Branch(self.model.open(), [])])
        return DraftState([branch.fork() for branch in parent.branches], parent.sure, parent.skipped)

    def behind(self, state: DraftState, committed: Sequence[int]) -> int:
        if not state.held and self.window:
            return min(len(committed), KEPT + self.window)
        return max(0, len(committed) - state.skipped - state.held)

    def propose(self, asks: Sequence[Ask[DraftState]]) -> list[DraftTree]:
        growing = [growth for growth in map(self._start, asks) if growth is not None]
        grown = {id(growth.ask): growth for growth in growing}
        for depth in range(max((growth.ask.budget.depth for growth in growing), default=0)):
            growing = [growth for growth in growing if self._grows(growth, depth)]
            if not growing:
                break
            self._level(growing, depth)
        return [grown[id(ask)].tree() if id(ask) in grown else EMPTY for ask in asks]

    def update(self, news: Sequence[News[DraftState]]) -> None:
        """Nothing to do: the cache catches up from the committed tokens when the next draft begins."""

    def close(self, state: DraftState) -> None:
        state.close()

    def _start(self, ask: Ask[DraftState]) -> Growth | None:
        """Goes back to what was committed; None when the text does not fit the draft model."""
        state, about = ask.state, self.model.about
        text = state.seen(ask.committed)
        if self.window and (not state.held or len(text) + ask.budget.depth > about.context):
            state.skip(max(0, len(ask.committed) - KEPT - self.window))
            text = state.seen(ask.committed)
        unknown = about.vocab_size < ask.vocab_size and max(text) >= about.vocab_size
        if unknown or len(text) + ask.budget.depth > about.context:
            return None
        return Growth(ask, text, self.shape, {ROOT: ask.rules}, {ROOT: state.resume(text)})

    def _grows(self, growth: Growth, depth: int) -> bool:
        budget, full = growth.ask.budget, not self.shape.dynamic and len(growth.tokens) >= growth.ask.budget.rows
        return bool(growth.frontier) and self.shape.width(depth) > 0 and depth < budget.depth and not full

    def _level(self, growing: Sequence[Growth], depth: int) -> None:
        """One more level of every tree, in one pass for all."""
        feeds = [growth.feeds() for growth in growing]
        if depth == 0:
            feeds = [[self._caught_up(*feed) for feed in own] for own in feeds]
        each = [feed for own in feeds for feed in own]
        scores = self.model.score([_query(branch, tokens) for branch, tokens in each])
        rows = iter([score.logits(len(tokens) - 1) for score, (_, tokens) in zip(scores, each, strict=True)])
        for branch, tokens in each:
            branch.keep(tokens)
        for growth, own in zip(growing, feeds, strict=True):
            growth.grow([next(rows) for _ in own], self.says, depth)

    def _caught_up(self, branch: Branch, tokens: tuple[int, ...]) -> tuple[Branch, tuple[int, ...]]:
        """Feeds all but the last piece of a long text."""
        while len(tokens) > CHUNK:
            piece, tokens = tokens[:CHUNK], tokens[CHUNK:]
            self.model.score([Query(branch.cache, piece, tuple(range(-1, len(piece) - 1)))])
            branch.keep(piece)
        return branch, tokens


def _query(branch: Branch, tokens: tuple[int, ...]) -> Query:
    return Query(branch.cache, tokens, tuple(range(-1, len(tokens) - 1)), (len(tokens) - 1,))


def _build(options: Options, provided: Provided) -> ModelDrafter:
    if provided.model is None:
        raise UsageError("drafter 'model' needs a draft model: write model:NAME")
    return ModelDrafter(provided.model, shape=options.shape, says=provided.says, window=options.window)


FAMILY = Family(
    name="model",
    summary="a smaller model of the same vocabulary drafts a chain or a tree",
    options=Options,
    needs=lambda options: options.needs,
    build=_build,
    positional="model",
    requires="a second model",
    nodes=lambda options: options.shape.nodes,
)
