"""The audit: does this model, with these drafters, on this machine, say exactly what it would say alone?

Five ways to look, each with known-bad twins that it must reject (`mutants`, and beside each statistical test):

    exact      small worlds, every chance followed: the joint law of the text, to float64's rounding
    sampled    the user's model cut to a few tokens: counts of texts against their law
    identical  the user's model as it is: the same tokens as plain decoding, at any temperature
    margins    for engines whose rows depend on their company: a difference must be a near tie
    parity     a trained head in the engine against its definition

`certificate` puts together what they find.
"""
