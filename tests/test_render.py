"""The tables of the documentation are those of the kept results."""

import json
import pathlib

import harness
import pytest
import render

RESULTS = pathlib.Path(render.__file__).parent / "results" / "2-cpu-cores.json"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["program.py", "--save"])
    return tmp_path


def kept(folder):
    parser = harness.parser_of("A program.")
    table = harness.Table("trial", {"name": "<8", "seconds": "8.2f", "draws": "8,d"})
    table.add("a [1]", 1.234, 10_000)
    table.add("b", None, 3)
    table.save(parser.parse_args())
    [path] = folder.glob("*.json")
    return json.loads(path.read_text())


def test_a_table_is_printed_and_kept_with_its_stamp(folder, capsys):
    table = kept(folder)["trial"]
    assert capsys.readouterr().out.splitlines() == [
        "name       seconds     draws",
        "a [1]         1.23    10,000",
        "b                -         3",
        "",
    ]
    assert table["rows"] == [["a [1]", 1.234, 10_000], ["b", None, 3]]
    assert table["stamp"]["arguments"] == "--save"
    assert {"jax", "blackjax", "python", "commit", "cores"} <= set(table["stamp"])


def test_a_second_table_keeps_the_first(folder):
    kept(folder)
    other = harness.Table("another", {"name": "<8"})
    other.save(harness.parser_of("A program.").parse_args())
    [path] = folder.glob("*.json")
    assert list(json.loads(path.read_text())) == ["another", "trial"]


def test_a_place_is_filled_with_its_table_alone(folder):
    tables = kept(folder)
    page = (
        "before\n\n<!-- table: trial | draws; name -->\nold\n<!-- end -->\n\n"
        "<!-- table: unknown -->\nas it was\n<!-- end -->\nafter\n"
    )
    text = render.filled(page, tables)
    assert "| draws | name |\n| ---: | --- |\n| 10,000 | a [1] |\n| 3 | b |\n" in text
    assert "old" not in text and "as it was" in text
    assert text.startswith("before\n") and text.endswith("after\n")
    assert render.filled(text, tables) == text


def test_missing_values_are_dashes(folder):
    table = kept(folder)["trial"]
    assert "| b | – | 3 |" in render.markdown(table)


def test_times_are_medians_of_calls_in_turn():
    ticks = iter([0, 5, 5, 6, 10, 11, 11, 14, 20, 23, 23, 24, 30, 32, 32, 34])
    calls = []
    sides = {name: lambda name=name: calls.append(name) or name for name in "ab"}
    times = harness.in_turn(sides, 3, clock=lambda: next(ticks))
    assert calls == list("abababab")
    assert times["a"] == (5, 2, "a")
    assert times["b"] == (1, 2, "b")


@pytest.mark.parametrize("page", render.PAGES, ids=lambda page: page.name)
def test_a_page_has_the_tables_of_the_results(page):
    text = page.read_text()
    assert render.MARK.search(text)
    assert render.filled(text, json.loads(RESULTS.read_text())) == text
