"""Text work in plain Python: about ten million small iterations a round, no training.

The text is the source of Python's own standard library.
"""

import collections
import math
import pathlib
import string
import sys
import sysconfig


def read_words(limit):
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    words = []
    for path in sorted(folder.glob("*.py")):
        words.extend(split(path.read_text(errors="replace")))
        if len(words) > limit:
            break
    return words[:limit]


def split(text):
    words, start = [], None
    for position, char in enumerate(text):
        if char.isalnum():
            start = position if start is None else start
        elif start is not None:
            words.append(text[start:position])
            start = None
    return words


def count(words):
    seen = {}
    for word in words:
        seen[word] = seen.get(word, 0) + 1
    return seen


class Trie:
    def __init__(self):
        self.children, self.ends = {}, 0

    def add(self, word):
        node = self
        for char in word:
            if char not in node.children:
                node.children[char] = Trie()
            node = node.children[char]
        node.ends += 1


def distance(left, right):
    """Levenshtein's distance."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left):
        above, row[0] = row[0], i + 1
        for j, b in enumerate(right):
            above, row[j + 1] = row[j + 1], min(row[j] + 1, row[j + 1] + 1, above + (a != b))
    return row[-1]


def weight(word, total):
    return math.log(1 + len(word)) / total


def entropy(counts):
    total, bits = sum(counts.values()), 0.0
    for word, number in counts.items():
        bits -= number / total * math.log2(number / total) * (1 + weight(word, total))
    return bits


def pairs(words):
    for first, second in zip(words, words[1:], strict=False):
        yield (first, second)


def checksum(line):
    value = 0
    for char in line:
        value = fold(value, ord(char))
    return value


def fold(value, code):
    return (value * 31 + code) & 0xFFFFFFFF


def digits(numbers):
    text = []
    while numbers:
        numbers, digit = divmod(numbers, 2)
        text.append(string.digits[digit])
    return "".join(text)


def main(limit, rare, numbers):
    words = read_words(limit)
    counts = count(words)
    print(len(words), "words,", len(counts), "different,", round(entropy(counts), 3))
    trie = Trie()
    for word in words:
        if len(word) > 9:
            trie.add(word)
    bigrams = collections.Counter()
    for pair in pairs(words):
        bigrams[pair] += 1
    print(bigrams.most_common(1))
    frequent = sorted(word for word in counts if len(word) > 9)[:rare]
    near = 0
    for one in frequent:
        for other in frequent:
            near += distance(one, other) < 4
    print(near, "pairs are near")
    lines = [" ".join(words[at : at + 6]) for at in range(0, len(words), 6)]
    print(sum(checksum(line) for line in lines) % 997)
    ones = 0
    for number in range(numbers):
        ones += digits(number + 1000).count("1")
    print(ones)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*given, *(400_000, 160, 60_000)[len(given) :])
