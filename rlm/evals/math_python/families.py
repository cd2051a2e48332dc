"""The kinds of problems: how one is drawn and asked, and its exact answer by a formula or an algorithm.

Each text is a template whose numbers can be read back. `solvers.py` works the same answers out in another way, from
the numbers that stand in the text; the tests hold the two against each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations

Numbers = dict[str, int]
Exact = int | Fraction | str
"""A string is an expression with `sqrt` or `pi`, or several values with commas between them."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of problem."""

    name: str
    text: str
    """A template: `{n}` stands for the number of that name."""
    draw: Callable[[random.Random], Numbers]
    gold: Callable[..., Exact]
    """Of the drawn numbers, by name."""


def _recurrence(*, s: int, t: int, p: int, q: int, m: int, n: int) -> int:
    """The n-th power of the companion matrix, by squaring."""

    def times(x: tuple[int, int, int, int], y: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        a, b, c, d = x
        e, f, g, h = y
        return ((a * e + b * g) % m, (a * f + b * h) % m, (c * e + d * g) % m, (c * f + d * h) % m)

    power, base = (1, 0, 0, 1), (p, q, 1, 0)
    while n:
        if n & 1:
            power = times(power, base)
        base, n = times(base, base), n >> 1
    return (power[2] * t + power[3] * s) % m


def _tower(*, a: int, b: int, c: int, m: int) -> int:
    return pow(a, b**c, m)


def _coprime_count(*, n: int, a: int, b: int, c: int) -> int:
    """Inclusion and exclusion."""
    pairs = sum(n // math.lcm(x, y) for x, y in ((a, b), (a, c), (b, c)))
    return n - n // a - n // b - n // c + pairs - n // math.lcm(a, b, c)


def _larger_root(*, b: int, c: int) -> str:
    return f"({b} + sqrt({b * b + 4 * c}))/2"


def _draw_cubic(rng: random.Random) -> Numbers:
    u, v, w = (rng.choice([-1, 1]) * rng.randint(1, 12) for _ in range(3))
    return {"b": u + v + w, "c": u * v + u * w + v * w, "d": u * v * w}


def _inverse_squares(*, b: int, c: int, d: int) -> Fraction:
    """Vieta, for the reversed polynomial."""
    first, second = Fraction(c, d), Fraction(b, d)
    return first * first - 2 * second


def _draw_triangle(rng: random.Random) -> Numbers:
    while True:
        drawn = {name: rng.randint(-15, 15) for name in ("p", "q", "r", "s", "t", "u")}
        if _doubled_area(**drawn):
            return drawn


def _doubled_area(*, p: int, q: int, r: int, s: int, t: int, u: int) -> int:
    return abs((r - p) * (u - q) - (t - p) * (s - q))


def _area(**corners: int) -> Fraction:
    return Fraction(_doubled_area(**corners), 2)


def _draw_sides(rng: random.Random) -> Numbers:
    a, b = rng.randint(5, 30), rng.randint(5, 30)
    return {"a": a, "b": b, "c": rng.randint(abs(a - b) + 1, a + b - 1)}


def _circle(*, a: int, b: int, c: int) -> str:
    """Heron: 16 K² is whole, and R² = (abc)² / 16 K²."""
    sixteen_k2 = (a + b + c) * (-a + b + c) * (a - b + c) * (a + b - c)
    return f"{Fraction((a * b * c) ** 2, sixteen_k2)}*pi"


def _draw_remainders(rng: random.Random) -> Numbers:
    p, q, r = rng.sample([11, 13, 17, 19, 23, 29, 31, 37], 3)
    return {"p": p, "q": q, "r": r, "a": rng.randrange(p), "b": rng.randrange(q), "c": rng.randrange(1, r)}


def _remainders(*, p: int, q: int, r: int, a: int, b: int, c: int) -> int:
    """The Chinese remainder theorem."""
    whole = p * q * r
    return sum(rest * (whole // m) * pow(whole // m, -1, m) for rest, m in ((a, p), (b, q), (c, r))) % whole


def _draw_product(rng: random.Random) -> Numbers:
    return {"i": rng.randint(2, 5), "j": rng.randint(1, 3), "k": rng.randint(1, 2), "p": rng.choice([7, 11, 13, 17])}


def _divisor_sum(*, i: int, j: int, k: int, p: int) -> int:
    return math.prod((base ** (power + 1) - 1) // (base - 1) for base, power in ((2, i), (3, j), (5, k), (p, 1)))


def _draw_urn(rng: random.Random) -> Numbers:
    r, b = rng.randint(3, 8), rng.randint(3, 7)
    k = rng.randint(3, 5)
    return {"r": r, "b": b, "k": k, "j": rng.randint(max(1, k - b), min(r, k))}


def _urn(*, r: int, b: int, k: int, j: int) -> Fraction:
    return Fraction(math.comb(r, j) * math.comb(b, k - j), math.comb(r + b, k))


def _draw_dice(rng: random.Random) -> Numbers:
    n, s = rng.randint(3, 5), rng.choice([4, 6, 8]) if rng.random() < 0.5 else 6
    n = min(n, 4) if s == 8 else n
    return {"n": n, "s": s, "t": rng.randint(n + 2, n * s - 2)}


def _dice(*, n: int, s: int, t: int) -> Fraction:
    """One die after the other."""
    ways = {0: 1}
    for _ in range(n):
        more: dict[int, int] = {}
        for total, count in ways.items():
            for face in range(1, s + 1):
                more[total + face] = more.get(total + face, 0) + count
        ways = more
    return Fraction(ways.get(t, 0), s**n)


def _telescope(*, n: int, d: int) -> Fraction:
    return sum((Fraction(1, k) - Fraction(1, n + k) for k in range(1, d + 1)), Fraction(0)) / d


def _draw_matrix(rng: random.Random) -> Numbers:
    return {f"m{row}{column}": rng.randint(-9, 9) for row in range(4) for column in range(4)}


def _determinant(**cells: int) -> int:
    """Leibniz: over all permutations."""
    total = 0
    for order in permutations(range(4)):
        swaps = sum(order[i] > order[j] for i in range(4) for j in range(i + 1, 4))
        total += (-1 if swaps % 2 else 1) * math.prod(cells[f"m{row}{column}"] for row, column in enumerate(order))
    return total


def _runs(*, n: int, r: int) -> int:
    """Each string begins with fewer than r ones and a zero."""
    counts = [2**i for i in range(r)]
    while len(counts) <= n:
        counts.append(sum(counts[-r:]))
    return int(counts[n])


def _draw_paths(rng: random.Random) -> Numbers:
    a, b = rng.randint(6, 14), rng.randint(6, 14)
    return {"a": a, "b": b, "c": rng.randint(1, a - 1), "d": rng.randint(1, b - 1)}


def _paths(*, a: int, b: int, c: int, d: int) -> int:
    return math.comb(a + b, a) - math.comb(c + d, c) * math.comb(a + b - c - d, a - c)


def _necklaces(*, n: int, k: int) -> int:
    """Burnside."""
    return sum(int(k ** math.gcd(n, turn)) for turn in range(n)) // n


def _draw_coin(rng: random.Random) -> Numbers:
    b = rng.randint(3, 9)
    return {"a": rng.randint(1, b - 1), "b": b, "r": rng.randint(2, 4)}


def _coin(*, a: int, b: int, r: int) -> Fraction:
    heads = Fraction(a, b)
    return (heads**-r - 1) / (1 - heads)


def _digit_sum(*, k: int, s: int) -> int:
    """Stars and bars, with inclusion and exclusion for digits over 9."""
    over = range(s // 10 + 1)
    return sum((-1 if i % 2 else 1) * math.comb(k, i) * math.comb(s - 10 * i + k - 1, k - 1) for i in over)


def _draw_system(rng: random.Random) -> Numbers:
    while True:
        drawn = {name: rng.choice([-1, 1]) * rng.randint(2, 9) for name in "abcd"} | {
            name: rng.randint(-30, 30) for name in "ef"
        }
        if drawn["a"] * drawn["d"] != drawn["b"] * drawn["c"]:
            return drawn


def _system(*, a: int, b: int, c: int, d: int, e: int, f: int) -> str:
    """Cramer."""
    below = a * d - b * c
    return f"{Fraction(e * d - b * f, below)}, {Fraction(a * f - e * c, below)}"


def _ints(**bounds: tuple[int, int]) -> Callable[[random.Random], Numbers]:
    return lambda rng: {name: rng.randint(low, high) for name, (low, high) in bounds.items()}


_MATRIX = "; ".join(", ".join(f"{{m{row}{column}}}" for column in range(4)) for row in range(4))

FAMILIES = (
    Family(
        "recurrence",
        "Let a(0) = {s}, a(1) = {t} and a(k) = {p} a(k-1) + {q} a(k-2). What is a({n}) modulo {m}?",
        _ints(s=(0, 9), t=(1, 9), p=(2, 9), q=(2, 9), m=(101, 9973), n=(200, 5000)),
        _recurrence,
    ),
    Family(
        "urn",
        "An urn holds {r} red and {b} blue balls. {k} are drawn without putting any back."
        " What is the probability that exactly {j} of the drawn balls are red?",
        _draw_urn,
        _urn,
    ),
    Family(
        "roots",
        "What is the larger root of x^2 - {b} x - {c} = 0, in closed form?",
        _ints(b=(1, 40), c=(1, 60)),
        _larger_root,
    ),
    Family(
        "remainders",
        "What is the smallest non-negative integer that leaves the remainder {a} when divided by {p},"
        " {b} when divided by {q}, and {c} when divided by {r}?",
        _draw_remainders,
        _remainders,
    ),
    Family(
        "circle",
        "A triangle has the sides {a}, {b} and {c}. What is the exact area of the circle through its corners?",
        _draw_sides,
        _circle,
    ),
    Family(
        "tower",
        "What is the remainder of {a}^({b}^{c}) when divided by {m}?",
        _ints(a=(2, 99), b=(2, 20), c=(5, 60), m=(1000, 99999)),
        _tower,
    ),
    Family(
        "paths",
        "On a grid one walks from (0, 0) to ({a}, {b}), each step one to the right or one up."
        " How many such walks do not pass through ({c}, {d})?",
        _draw_paths,
        _paths,
    ),
    Family(
        "system",
        "({a}) x + ({b}) y = {e} and ({c}) x + ({d}) y = {f}. What are x and y? Give them in this order, as fractions.",
        _draw_system,
        _system,
    ),
    Family(
        "divisible",
        "How many of the integers from 1 to {n} are divisible by none of {a}, {b} and {c}?",
        _ints(n=(500, 20000), a=(3, 12), b=(4, 15), c=(5, 21)),
        _coprime_count,
    ),
    Family(
        "dice",
        "{n} fair dice, each with the faces 1 to {s}, are rolled. What is the probability that they sum to {t}?",
        _draw_dice,
        _dice,
    ),
    Family(
        "cubic",
        "The polynomial x^3 - ({b}) x^2 + ({c}) x - ({d}) has three real roots, counted with multiplicity."
        " What is the sum of 1/r^2 over its roots r?",
        _draw_cubic,
        _inverse_squares,
    ),
    Family(
        "triangle",
        "What is the area of the triangle with the corners ({p}, {q}), ({r}, {s}) and ({t}, {u})?",
        _draw_triangle,
        _area,
    ),
    Family(
        "divisors",
        "What is the sum of all positive divisors of 2^{i} * 3^{j} * 5^{k} * {p}?",
        _draw_product,
        _divisor_sum,
    ),
    Family(
        "sum",
        "What is the sum of 1/(k (k + {d})) for k from 1 to {n}, as a fraction?",
        _ints(n=(10, 60), d=(2, 6)),
        _telescope,
    ),
    Family(
        "determinant",
        f"What is the determinant of the matrix with these rows: {_MATRIX}?",
        _draw_matrix,
        _determinant,
    ),
    Family(
        "runs",
        "How many strings of {n} zeros and ones do not contain {r} ones in a row?",
        _ints(n=(8, 15), r=(2, 5)),
        _runs,
    ),
    Family(
        "necklaces",
        "Beads of {k} colours are put on a ring of {n} places. How many rings are there, if two that are rotations"
        " of one another count as one, and reflections do not?",
        _ints(n=(4, 8), k=(2, 3)),
        _necklaces,
    ),
    Family(
        "coin",
        "A coin shows heads with probability {a}/{b}. It is tossed until heads has come {r} times in a row."
        " What is the expected number of tosses?",
        _draw_coin,
        _coin,
    ),
    Family(
        "digits",
        "How many of the integers from 0 to 10^{k} - 1 have the digit sum {s}?",
        _ints(k=(3, 7), s=(4, 26)),
        _digit_sum,
    ),
)
