"""array.array and bytearray that grow, arrays that are resized."""
import array, random
import numpy as np
random.seed(1)
numbers = array.array("d", [0.0] * 400); raw = bytearray(b"ab" * 500); grown = np.zeros(300)
total = 0.0
for epoch in range(8):
    for i in range(3):
        total += random.random(); grown[i] += total
        # ask(inner): print("ASK", total, len(numbers), len(raw), grown.sum())
    numbers.append(total); raw += b"xyz"; grown.resize(len(grown) + 2)
    # ask(outer): print("ASK", numbers[-1], raw[-3:], grown.shape, grown.sum())
    print(epoch, total)
