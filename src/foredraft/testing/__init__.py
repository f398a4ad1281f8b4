"""For tests, our own and third parties': exact enumeration and conformance kits.

`models.ModelChecks`, `drafters.DrafterChecks` and `verifiers.VerifierChecks` are pytest classes to subclass, and
`caches.cache_machine` makes a Hypothesis test case; these four modules need pytest and hypothesis, the others do not.
"""
