from tierwise.predict.fit import fit_latency_model
from tierwise.recommend.outlook_words import crossover_text
from tierwise.recommend.requirement import Requirement
from tierwise.recommend.verdict import recommend
from tierwise.report.figures.predicted import predicted, predicted_rows
from tierwise.testing.results import made_up_results


def test_the_report_draws_predicted_lines_with_bands_and_measured_points():
    recommendation = recommend(made_up_results(blocks=20, edge_cloud=("1Mbit", "50Mbit")))
    figures = predicted(recommendation)
    # On edge-cloud one strategy wins everywhere: a chart of one line says nothing.
    assert [figure.name for figure in figures] == ["predicted-mobile-edge"]
    (figure,) = figures
    lines = [row for row in figure.rows if row["state"] == "predicted"]
    points = [row for row in figure.rows if row["state"] == "measured"]
    assert all(row["low_ms"] < row["p50_ms"] < row["high_ms"] for row in lines)
    assert {row["strategy"] for row in points} == {row["strategy"] for row in lines}
    assert all(row["mbit_per_s"] == 200 for row in points)
    figure.chart.to_dict(validate=True)


def test_a_crossover_is_found_and_said():
    results = made_up_results(blocks=20, edge_cloud=("1Mbit", "50Mbit"))
    slow = results.conditions[0].at_rate("mobile-edge", 10e6)
    model = fit_latency_model(results)
    rows, (crossover,) = predicted_rows(recommend(results), model, "mobile-edge", slow)
    assert (crossover.below, crossover.above) == ("mobile/QE", "edge/QE")
    assert crossover.low_bit_per_s < crossover.bandwidth_bit_per_s < crossover.high_bit_per_s
    left = [row for row in rows if row["mbit_per_s"] * 1e6 < crossover.low_bit_per_s * 0.9]
    latency = {row["strategy"]: row["p50_ms"] for row in left}
    assert latency["mobile/QE"] < latency["edge/QE"]
    assert "choose mobile/QE, above it edge/QE" in crossover_text(crossover)


def test_nothing_measured_nothing_drawn():
    results = made_up_results(blocks=20)
    recommendation = recommend(results)
    unmet = recommend(results, Requirement.parse(latency="0.1ms"))
    assert predicted(recommendation)
    assert predicted(unmet) == ()
