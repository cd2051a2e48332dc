"""Texts that are hard to copy: words without sense, records, tables and codes, some hundred characters at a time."""

from __future__ import annotations

import json

from rlm.evals.textkit import Draw, words

_WORDS = words(
    "absolute academy address advance airport analyst ancient anxiety balance barrier battery bedroom benefit bicycle "
    "breathe cabinet captain ceiling century chapter climate collect comfort concert context courage cushion daylight "
    "deliver density digital discuss distant drawing economy element evening exhibit factory fashion feather fiction "
    "gallery genuine gravity habitat harvest highway imagine inquiry journal justice kitchen lantern leather library"
)
_FIRST = words("Ada Bruno Chiara Dmitri Elif Farid Greta Hiro Ines Jonas Katya Liam Mei Nadia Omar Priya Quentin Rosa")
_LAST = words(
    "Abara Bianchi Cohen Dubois Eriksen Fischer Garcia Haddad Ivanov Jensen Kowalski Lindgren Moreau Nakamura"
)
_STREETS = words("Alder Birch Cedar Dogwood Elm Fir Garden Harbour Ivy Juniper Kestrel Larch Mill Nettle Orchard")
_CITIES = words("Aarhus Bilbao Cork Dresden Exeter Fukuoka Genoa Haifa Izmir Jaipur Kyoto Lyon Malmo Nantes Oslo Porto")
_COUNTRIES = words("Austria Brazil Canada Denmark Estonia Finland Ghana Hungary India Japan Kenya Latvia Mexico Norway")
_PRODUCTS = words("anvil bucket candle drill easel funnel gasket hinge inkwell jigsaw kettle ladder mallet nozzle oven")
_KEY = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_HEX = "0123456789abcdef"


def plain_words(draw: Draw) -> str:
    return " ".join(draw.picks(_WORDS, 30))


def json_records(draw: Draw) -> str:
    return json.dumps([_record(draw) for _ in range(2)], indent=2)


def csv_rows(draw: Draw) -> str:
    rows = ["id,product,price,quantity,date"]
    for _ in range(8):
        price = f"{draw.between(1, 999)}.{draw.below(100):02}"
        date = f"20{draw.between(10, 29)}-{draw.between(1, 12):02}-{draw.between(1, 28):02}"
        rows.append(f"{draw.between(1000, 9999)},{draw.pick(_PRODUCTS)},{price},{draw.between(1, 500)},{date}")
    return "\n".join(rows)


def codes(draw: Draw) -> str:
    return "\n".join(_uuid(draw) if at % 2 == 0 else _licence(draw) for at in range(8))


def _record(draw: Draw) -> dict[str, str | int]:
    first, last = draw.pick(_FIRST), draw.pick(_LAST)
    return {
        "id": draw.between(1000, 9999),
        "name": f"{first} {last}",
        "email": f"{first}.{last}{draw.below(100)}@example.org".lower(),
        "phone": f"+{draw.between(1, 99)} ({draw.between(10, 99)}) {draw.between(100, 999)}-{draw.between(1000, 9999)}",
        "address": f"{draw.between(1, 400)} {draw.pick(_STREETS)} Street",
        "city": draw.pick(_CITIES),
        "country": draw.pick(_COUNTRIES),
    }


def _uuid(draw: Draw) -> str:
    digits = "".join(draw.picks(_HEX, 32))
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _licence(draw: Draw) -> str:
    return "-".join("".join(draw.picks(_KEY, 4)) for _ in range(3))
