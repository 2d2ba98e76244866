"""try/except around the loop, KeyboardInterrupt too; iterations that fail are skipped; finally."""

import numpy as np

rng = np.random.default_rng(21)
weights, failed, saved = np.zeros(2), [], None
try:
    for epoch in range(6):
        try:
            for step in range(4):
                row = rng.normal(size=2)
                if row[0] > 1.1:
                    raise FloatingPointError(f"epoch {epoch} step {step}")
                weights += 0.2 * (row.sum() - row @ weights) * row
                # ask(inner): print("ASK", epoch, step, weights.tolist())
        except Exception as error:
            failed.append(str(error))
            # ask(caught): print("ASK", failed, weights.tolist())
            continue
        finally:
            weights *= 0.99
        print("epoch", epoch, float(weights.sum()))
        # ask(outer): print("ASK", epoch, len(failed), weights.tolist())
        if epoch == 4:
            raise KeyboardInterrupt
except KeyboardInterrupt:
    saved = weights.copy()
    print("interrupted", failed)
finally:
    # ask(after): print("ASK", saved.tolist())
    print("saved", saved.tolist())
