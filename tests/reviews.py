"""Texts of which a bag of words does not tell the labels."""

import numpy as np

QUICK = {"embedding": 8, "hidden": 6, "epochs": 2, "min_count": 1, "seed": 1}


FILLERS = ["the", "film", "is", "a", "story", "about", "people", "who", "meet", "in", "some", "town", "one", "day"]


def reviews(count, seed=0):
    """Texts whose label is that of one word, unless the word before it is "not"."""
    draws, texts, labels = np.random.default_rng(seed), [], []
    for _ in range(count):
        good, negated = draws.integers(2), draws.integers(2)
        words = [str(w) for w in draws.choice(FILLERS, draws.integers(3, 9))]
        place = int(draws.integers(len(words)))
        words[place:place] = ["not"] * int(negated) + ["good" if good else "bad"]
        texts.append(" ".join(words))
        labels.append("positive" if good != negated else "negative")
    return texts, labels
