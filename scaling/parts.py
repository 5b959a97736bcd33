"""L(N, D) of what a model could copy and of what is new: which of them couples N and D?

    for row in by_part(group):          # runs of one law that know recalled_loss and rest_loss
        row['part'], row['kappa'], row['ci']['kappa']

A target is recalled if the pair (previous token, target) occurred earlier in the context. Losses
are in nats per token, of a part's own targets. In Kaplan's form kappa = 1 means that the shortages
of N and D add up, as in the form of Hoffmann et al. (frontier.py).
"""
from scaling import heldout
from scaling.frontier import FEW_CLUSTERS
from scaling.runs import choose_l_nd, n_sizes, size_of

PARTS = {'recalled': 'recalled_loss', 'new': 'rest_loss', 'all': 'loss_per_token'}
RESAMPLES = 1000


def by_part(group, size='non_embedding', bootstraps=RESAMPLES, seed=0):
    """Laws in Kaplan's form of each part: heldout.fit's dicts with 'part' and 'without'.

    Each part is fitted to all runs, then without the smallest size and the shortest runs: these
    have not finished learning to copy. Empty where the runs do not know their parts, or have few
    sizes.
    """
    known = all(key in run for run in group for key in PARTS.values())
    if not known or n_sizes(group) < FEW_CLUSTERS or size not in heldout.counts(group):
        return []
    least, shortest = min(map(size_of, group)), min(run['tokens'] for run in group)
    copiers = [run for run in group
               if size_of(run) > least and run['tokens'] > 1.02 * shortest]
    subsets = {'': group, 'the smallest size and the shortest runs': copiers}
    rows = []
    for without, runs in subsets.items():
        if not choose_l_nd(runs):
            continue
        for part, key in PARTS.items():
            own = [run | {'loss': run[key]} for run in runs]
            law = heldout.fit(own, size, 'kaplan', bootstraps, seed, rounds=1)
            rows.append(law | {'part': part, 'without': without})
    return rows
