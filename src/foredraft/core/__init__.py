"""The exact core: laws, trees, rules, keyed randomness, stopping, contracts and the one round. numpy only, no I/O."""
