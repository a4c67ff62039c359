"""SHARD=i/n: the i-th of n parts of something large, so that many machines can do it together."""
import re


def parse(text: str) -> tuple:
    """(i, n) with 1 <= i <= n; all of it, (1, 1), when nothing is said. ValueError: one line."""
    if not text:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    part, parts = (int(word) for word in found.groups()) if found else (0, 0)
    if not 1 <= part <= parts:
        raise ValueError(f"SHARD={text}: expected i/n with 1 <= i <= n")
    return part, parts


def share(total: int, part: int, parts: int) -> int:
    """How many of `total` equal pieces of work this part does; the parts' sum is `total`."""
    return total * part // parts - total * (part - 1) // parts
