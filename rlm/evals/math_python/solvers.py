"""The same problems worked out from the numbers in their texts, mostly by trying everything out.

Plain functions without anything around them: the scripted root sends their source to the REPL. They share no code with
`families.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction


def recurrence(s: int, t: int, p: int, q: int, m: int, n: int) -> int:
    for _ in range(n):
        s, t = t, (p * t + q * s) % m
    return s % m


def urn(r: int, b: int, k: int, j: int) -> Fraction:
    draws = [sum(ball < r for ball in drawn) for drawn in itertools.combinations(range(r + b), k)]
    return Fraction(draws.count(j), len(draws))


def roots(b: int, c: int) -> str:
    return f"{b}/2 + sqrt(({b}/2)^2 + {c})"


def remainders(p: int, q: int, r: int, a: int, b: int, c: int) -> int:
    return next(n for n in range(a, p * q * r, p) if n % q == b and n % r == c)


def circle(a: int, b: int, c: int) -> str:
    cosine = Fraction(a * a + b * b - c * c, 2 * a * b)
    return f"pi * {Fraction(c * c) / (4 * (1 - cosine * cosine))}"


def tower(a: int, b: int, c: int, m: int) -> int:
    for _ in range(c):
        power = 1
        for _ in range(b):
            power = power * a % m
        a = power
    return a % m


def paths(a: int, b: int, c: int, d: int) -> int:
    ways = [1] + [0] * b
    for x in range(a + 1):
        for y in range(b + 1):
            if y and not (x == 0 and y == 0):
                ways[y] += ways[y - 1]
            if (x, y) == (c, d):
                ways[y] = 0
    return ways[b]


def system(a: int, b: int, c: int, d: int, e: int, f: int) -> str:
    y = (Fraction(f) - Fraction(c, a) * e) / (d - Fraction(c, a) * b)
    return f"x = {(e - b * y) / a}, y = {y}"


def divisible(n: int, a: int, b: int, c: int) -> int:
    return sum(1 for k in range(1, n + 1) if k % a and k % b and k % c)


def dice(n: int, s: int, t: int) -> Fraction:
    rolls = [sum(roll) for roll in itertools.product(range(1, s + 1), repeat=n)]
    return Fraction(rolls.count(t), len(rolls))


def cubic(b: int, c: int, d: int) -> Fraction:
    found: list[int] = []
    for r in range(-abs(d), abs(d) + 1):
        if r and r**3 - b * r**2 + c * r - d == 0:
            found.append(r)
            if 3 * r**2 - 2 * b * r + c == 0:
                found.append(r)
                if 6 * r - 2 * b == 0:
                    found.append(r)
    return sum((Fraction(1, r * r) for r in found), Fraction(0))


def triangle(p: int, q: int, r: int, s: int, t: int, u: int) -> Fraction:
    """Pick: the lattice points inside, and half of those on the border."""
    corners = [(p, q), (r, s), (t, u)]
    inside = border = 0
    for x in range(min(p, r, t), max(p, r, t) + 1):
        for y in range(min(q, s, u), max(q, s, u) + 1):
            sides = []
            for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
                sides.append((x2 - x1) * (y - y1) - (x - x1) * (y2 - y1))
            if min(sides) >= 0 or max(sides) <= 0:
                inside, border = (inside, border + 1) if 0 in sides else (inside + 1, border)
    return inside + Fraction(border, 2) - 1


def divisors(i: int, j: int, k: int, p: int) -> int:
    n = 2**i * 3**j * 5**k * p
    return sum(d for d in range(1, n + 1) if n % d == 0)


def sum_(n: int, d: int) -> Fraction:
    total = Fraction(0)
    for k in range(1, n + 1):
        total += Fraction(1, k * (k + d))
    return total


def determinant(**cells: int) -> Fraction:
    """Elimination."""
    rows = [[Fraction(cells[f"m{row}{column}"]) for column in range(4)] for row in range(4)]
    product = Fraction(1)
    for column in range(4):
        pivot = next((row for row in range(column, 4) if rows[row][column]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != column:
            rows[pivot], rows[column] = rows[column], rows[pivot]
            product = -product
        product *= rows[column][column]
        for row in range(column + 1, 4):
            factor = rows[row][column] / rows[column][column]
            rows[row] = [x - factor * y for x, y in zip(rows[row], rows[column], strict=True)]
    return product


def runs(n: int, r: int) -> int:
    return sum("1" * r not in format(bits, f"0{n}b") for bits in range(2**n))


def necklaces(n: int, k: int) -> int:
    return len({min(ring[i:] + ring[:i] for i in range(n)) for ring in itertools.product(range(k), repeat=n)})


def coin(a: int, b: int, r: int) -> Fraction:
    """E(i + 1) = (E(i) + 1) / p: one more head, or all over again."""
    expected = Fraction(0)
    for _ in range(r):
        expected = (expected + 1) / Fraction(a, b)
    return expected


def digits(k: int, s: int) -> int:
    ways = [1] + [0] * s
    for _ in range(k):
        ways = [sum(ways[total - digit] for digit in range(min(9, total) + 1)) for total in range(s + 1)]
    return ways[s]


SOLVERS: dict[str, Callable[..., int | Fraction | str]] = {
    "recurrence": recurrence,
    "urn": urn,
    "roots": roots,
    "remainders": remainders,
    "circle": circle,
    "tower": tower,
    "paths": paths,
    "system": system,
    "divisible": divisible,
    "dice": dice,
    "cubic": cubic,
    "triangle": triangle,
    "divisors": divisors,
    "sum": sum_,
    "determinant": determinant,
    "runs": runs,
    "necklaces": necklaces,
    "coin": coin,
    "digits": digits,
}
