"""Hidden states of a frozen target that stay in its device's memory: a text goes through it once, not once an epoch."""

from __future__ import annotations

from torch import Tensor

from foredraft.core.errors import UsageError
from foredraft.train.corpus import Text


class Remembered:
    """Of as many texts as `most` bytes hold, the first that are seen; of the others nothing. Raises UsageError for no
    memory at all."""

    def __init__(self, most: float) -> None:
        if not most > 0:
            raise UsageError("memory for hidden states is some gigabytes: leave --remember out for none")
        self.most, self.bytes, self._states = most, 0, dict[Text, Tensor]()
        self._layers: tuple[int, ...] = ()

    def __contains__(self, text: Text) -> bool:
        return text in self._states

    def of(self, text: Text, layers: tuple[int, ...]) -> Tensor:
        """[tokens, layers, width], as it was added."""
        self._same(layers)
        return self._states[text]

    def add(self, text: Text, layers: tuple[int, ...], states: Tensor) -> None:
        """Copies them, where there is room."""
        self._same(layers)
        if text not in self and self.bytes + states.nbytes <= self.most:
            self._states[text] = states.clone()  # else a batch stayed for the sake of a text
            self.bytes += states.nbytes

    def _same(self, layers: tuple[int, ...]) -> None:
        """Raises ValueError for other layers than before: those of a run are always the same."""
        self._layers = self._layers or layers
        if layers != self._layers:
            raise ValueError(f"states after layers {self._layers} are remembered, not after {layers}")
