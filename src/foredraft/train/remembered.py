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

    def __contains__(self, text: Text) -> bool:
        return text in self._states

    def of(self, text: Text) -> Tensor:
        """[tokens, layers, width], as it was added."""
        return self._states[text]

    def add(self, text: Text, states: Tensor) -> None:
        """Copies them, where there is room."""
        if self.bytes + states.nbytes <= self.most:
            self._states[text] = states.clone()  # else a batch stayed for the sake of a text
            self.bytes += states.nbytes
