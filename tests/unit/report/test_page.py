import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.errors import UserError
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.report.write import write_report
from tierwise.testing.results import made_up_results

NASTY = "<script>alert(\"x\")</script> & 'y'"


class _Page(HTMLParser):
    """What a browser would load, and the text a reader would see."""

    def __init__(self, html):
        super().__init__()
        self.loads, self.ids, self.words, self.scripts, self.empty_alt = [], [], [], 0, 0
        self._inside = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self._inside.append(tag)
        self.scripts += tag == "script"
        for name in ("src", "srcset", "data", "poster", "action", "xlink:href"):
            if name in attrs:
                self.loads.append((tag, attrs[name]))
        if "href" in attrs and not attrs["href"].startswith("#"):
            self.loads.append((tag, attrs["href"]))
        if attrs.get("role") == "img" and "data-chart" in attrs:
            self.empty_alt += not attrs.get("aria-label")
        if "id" in attrs:
            self.ids.append(attrs["id"])

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


class _Stacked(HTMLParser):
    """Of every table that a phone shows as blocks: its columns, and the labels of its cells."""

    def __init__(self, html):
        super().__init__()
        self.tables, self._table, self._column = [], None, False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        classes = (attrs.get("class") or "").split()
        if tag == "table":
            self._table = ([], []) if "stack" in classes else None
            if self._table:
                self.tables.append(self._table)
        elif self._table and tag == "tr":
            self._table[1].append([])
        elif self._table and tag == "td" and "bars" not in classes and "colspan" not in attrs:
            self._table[1][-1].append(attrs.get("data-label"))
        self._column = bool(self._table) and tag == "th" and attrs.get("scope") == "col"

    def handle_data(self, data):
        if self._column:
            self._table[0].append(data)
            self._column = False


def written(tmp_path, results, **flags):
    recommendation = recommend(results, Requirement.parse(**flags))
    (path,) = write_report(results, recommendation, tmp_path / "report.html")
    return path.read_text(encoding="utf-8")


def test_the_page_needs_no_network_and_says_so_to_the_browser(tmp_path):
    html = written(tmp_path, made_up_results())
    page = _Page(html)
    assert page.loads == []
    assert "@import" not in html.split("<script>")[0]
    assert "url(" not in html.split("<script>")[0]
    assert "default-src 'none'" in html
    assert len(html) < 3_000_000
    assert page.empty_alt == 0
    assert {"chart-tradeoff", "chart-breakdown", "chart-boxes"} <= set(page.ids)


def test_the_page_holds_the_verdict_and_every_strategy(tmp_path):
    results = made_up_results()
    html = written(tmp_path, results, max_loss="1")
    text = _Page(html).text
    assert recommend(results, Requirement.parse(max_loss=1)).verdict in text
    for trial in results.trials:
        assert trial.strategy.id in text
    assert "42.1 Mbit/s reached of 50 Mbit/s asked" in text


def test_how_each_condition_was_measured_is_on_the_page(tmp_path):
    results = made_up_results(blocks=20)
    condition, measured = next(iter(results.measured.items()))
    due = replace(
        measured,
        plan={**measured.plan, "arrivals_per_s": 5.0},
        blocks=tuple(replace(b, late=b.requests // 4) for b in measured.blocks),
    )
    text = _Page(written(tmp_path, replace(results, measured={condition: due}))).text
    assert "all that the study asks for are measured" in text
    assert "2: 9 (5.0% of CPU time was stolen by other virtual machines); 19 (" in text
    assert "25.0%" in text
    unfinished = replace(measured, stopped="")
    text = _Page(written(tmp_path, replace(results, measured={condition: unfinished}))).text
    assert "it has not" in text


def test_names_with_markup_in_them_are_text(tmp_path):
    results = made_up_results(name=NASTY, does_not_fit=["mobile/I"])
    html = written(tmp_path, results)
    page = _Page(html)
    assert "<script>alert" not in html
    assert page.scripts == 2
    assert NASTY in page.text


def test_what_to_type_is_code_and_still_text(tmp_path):
    advice = ResultWarning(WarningKind.DISTURBED, "", "Busy.", "Do `run <i> --fresh` again.")
    html = written(tmp_path, replace(made_up_results(), warnings=(advice,)))
    assert "Do <code>run &lt;i&gt; --fresh</code> again." in html


@pytest.mark.parametrize(
    ("results", "flags", "words"),
    [
        (made_up_results(labels=False, blocks=10), {}, "the original's output"),
        (made_up_results(blocks=100), {"latency": "p95=1ms"}, "Nothing to recommend"),
        (made_up_results(blocks=10, does_not_fit=["edge/I"]), {}, "does not fit: needs 612 MiB"),
        (made_up_results(blocks=10, predicted=["edge/QE"]), {}, "edge/QE predicted"),
        (made_up_results(blocks=0), {}, "Nothing was measured"),
        (made_up_results(blocks=10, edge_cloud=("1Mbit", "9Mbit")), {}, "9 Mbit/s, rtt 8 ms"),
    ],
    ids=["no labels", "nothing meets", "does not fit", "predicted", "pending", "conditions"],
)
def test_odd_studies_have_a_page(tmp_path, results, flags, words):
    page = _Page(written(tmp_path, results, **flags))
    assert words in page.text
    assert page.loads == []


def test_an_unknown_format_is_refused_with_those_that_there_are(tmp_path):
    results = made_up_results(blocks=10)
    with pytest.raises(UserError, match=r"no report format 'pdf'.*html"):
        write_report(results, recommend(results), tmp_path, "pdf")
    assert list(tmp_path.iterdir()) == []


def test_on_a_phone_every_figure_stands_below_the_name_of_its_column(tmp_path):
    html = written(tmp_path, made_up_results())
    tables = _Stacked(html).tables
    assert len(tables) >= 6
    assert html.split("<script>")[0].count("<table") == len(tables)
    for columns, rows in tables:
        for labels in rows:
            if columns and labels and None not in labels:
                inner = iter(columns)
                assert all(label in inner for label in labels), (columns, labels)
            elif columns:
                assert not labels, (columns, labels)
