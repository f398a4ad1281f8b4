"""The built-in caches pass the state machine."""

from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.caches import cache_machine

TestToyCaches = cache_machine(lambda: ToyModel(Tables.random(4, order=3, seed=1)))
TestTightContext = cache_machine(lambda: ToyModel(Tables.random(3, order=2, seed=2, context=9), context=9))
