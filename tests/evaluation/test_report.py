"""Report rows over seeds, and what people see of them."""

import pytest

from metakg.errors import DataError
from metakg.evaluation.report import against_best_floor, aggregate, grid, read_rows, rules_of, tables, write_rows


def row(model="kg-knn", scenario="user_cold", mean=0.25, seed=1, **changes):
    given = {
        "model": model,
        "scenario": scenario,
        "protocol": "paper",
        "shots": None,
        "metric": "recall",
        "k": 20,
        "mean": mean,
        "n_users": 2789,
        "seed": seed,
        "mask": "support",
        "candidates": "all",
    }
    return given | changes


def test_mean_and_deviation_over_seeds():
    report = aggregate([row(mean=mean, seed=seed) for seed, mean in ((2, 0.1), (1, 0.2), (3, 0.6))])
    # deviations -0.2, -0.1, 0.3: squares 0.14, over two
    assert report == [
        {
            "model": "kg-knn",
            "scenario": "user_cold",
            "protocol": "paper",
            "shots": None,
            "mask": "support",
            "candidates": "all",
            "metric": "recall",
            "k": 20,
            "mean": pytest.approx(0.3),
            "std": pytest.approx(0.07**0.5),
            "n_users": 2789,
            "seeds": [1, 2, 3],
        }
    ]


def test_a_single_seed_has_no_deviation():
    assert aggregate([row()])[0]["std"] is None
    assert aggregate([row(seed=None)])[0]["seeds"] == []


def test_what_differs_is_kept_apart_and_in_order():
    changes = [{}, {"shots": 1}, {"mask": "support+train"}, {"metric": "ndcg"}, {"k": 40}, {"model": "walk"}]
    report = aggregate([row(**change) for change in changes])
    assert len(report) == len(changes)
    assert [r["model"] for r in report] == ["kg-knn"] * 5 + ["walk"]


def test_contradicting_rows_are_refused():
    with pytest.raises(DataError, match="results of kg-knn in user_cold: found seeds 1, 1; expected each seed once"):
        aggregate([row(), row()])
    with pytest.raises(DataError, match="found 2788 and 2789 users"):
        aggregate([row(), row(seed=2, n_users=2788)])


def test_gain_over_the_best_floor():
    report = aggregate(
        [row("walk", mean=0.3), row("blend", mean=0.4), row("metakg", mean=0.5), row("metakg", "warm", mean=0.5)]
    )
    found = against_best_floor(report, ("walk", "blend"))
    assert [(r["model"], r["scenario"], r["floor"], r["floor_mean"]) for r in found] == [("metakg", "user_cold", "blend", 0.4)]
    assert found[0]["gain"] == pytest.approx(0.25)
    assert against_best_floor(aggregate([row("walk", mean=0.0), row("metakg")]), ("walk",))[0]["gain"] is None


REPORT = [
    row("popularity", mean=0.0312),
    row("popularity", "warm", mean=0.05, n_users=1164),
    row("blend", mean=0.3712, seed=1),
    row("blend", mean=0.3714, seed=2),
    row("blend", "warm", mean=0.31, n_users=1164),
    row("metakg", mean=0.38),
]


FLOORS = ("popularity", "blend")


def test_text():
    lines = [
        "recall@20",
        "",
        "model                               user_cold               warm",
        "--------------------------  -----------------  -----------------",
        "popularity                  0.0312             0.0500",
        "blend                       0.3713 ± 0.0001    0.3100          <",
        "metakg                      0.3800          <",
        "metakg over the best floor              +2.3%",
        "users                                   2,789              1,164",
    ]
    assert tables(aggregate(REPORT), floors=FLOORS) == "\n".join(lines) + "\n"


def test_markdown():
    lines = [
        "### recall@20",
        "",
        "| model                      |       user_cold |       warm |",
        "| -------------------------- | --------------: | ---------: |",
        "| popularity                 |          0.0312 |     0.0500 |",
        "| blend                      | 0.3713 ± 0.0001 | **0.3100** |",
        "| metakg                     |      **0.3800** |            |",
        "| metakg over the best floor |           +2.3% |            |",
        "| users                      |           2,789 |      1,164 |",
    ]
    assert tables(aggregate(REPORT), floors=FLOORS, markdown=True) == "\n".join(lines) + "\n"


def test_printed_figures_stand_below_the_models_and_are_never_the_best():
    printed = {"elsewhere": {"user_cold": {"recall": 0.9, "ndcg": 0.8}, "other": {"recall": 0.7}}}
    lines = tables(aggregate(REPORT), floors=FLOORS, printed=printed, markdown=True).splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names[-4:] == ["metakg", "elsewhere", "metakg over the best floor", "users"]
    assert [cell.strip() for cell in lines[-3].split("|")[2:4]] == ["0.9000", ""]
    assert "**0.3800**" in lines[-4]


def test_marks_need_both_tests():
    def compared(t_p, wilcoxon_p):
        return {"model": "metakg", "scenario": "user_cold", "shots": None, "metric": "recall", "k": 20} | {
            "t_p": t_p,
            "wilcoxon_p": wilcoxon_p,
        }

    report = aggregate(REPORT[-1:])
    for p_values, mark in (
        ((1e-9, 0.0009), "***"),
        ((0.009, 1e-9), "**"),
        ((0.01, 0.04), "*"),
        ((1e-9, 0.05), ""),
        ((None, None), ""),
    ):
        text = tables(report, comparisons=[compared(*p_values)])
        assert f"0.3800 {mark:<3}<\n" in text
        assert f"**0.3800**{mark.replace('*', chr(92) + '*')} |" in tables(
            report, comparisons=[compared(*p_values)], markdown=True
        )


def test_columns_say_what_tells_them_apart():
    report = aggregate([row(), row(shots=0), row(scenario="warm", shots=5, mask="support+train")])
    header = tables(report).splitlines()[2]
    for name in (
        "user_cold, all shots, mask support ",
        "user_cold, 0 shots, mask support ",
        "warm, 5 shots, mask support+train",
    ):
        assert name in header


def test_many_columns_turn_the_table():
    report = aggregate([row(shots=shots, mean=shots / 10) for shots in range(6)] + [row(shots=6), row("metakg", shots=6)])
    assert tables(report, floors=("kg-knn",)).splitlines()[2:] == [
        "scenario              kg-knn    metakg  metakg over the best floor  users",
        "------------------  --------  --------  --------------------------  -----",
        "user_cold, 0 shots  0.0000                                          2,789",
        "user_cold, 1 shot   0.1000 <                                        2,789",
        "user_cold, 2 shots  0.2000 <                                        2,789",
        "user_cold, 3 shots  0.3000 <                                        2,789",
        "user_cold, 4 shots  0.4000 <                                        2,789",
        "user_cold, 5 shots  0.5000 <                                        2,789",
        "user_cold, 6 shots  0.2500 <  0.2500 <                       +0.0%  2,789",
    ]


def test_shares_have_no_best():
    report = aggregate([row(metric="tied", mean=0.9), row("walk", metric="tied", mean=0.1)])
    assert "<" not in tables(report, floors=("walk",))
    assert "over the best floor" not in tables(report, floors=("walk",))


def test_what_is_shown_can_be_chosen():
    report = aggregate([row(), row(metric="ndcg"), row(k=40)])
    assert [line for line in tables(report).splitlines() if "@" in line] == ["recall@20", "ndcg@20", "recall@40"]
    assert [line for line in tables(report, [("ndcg", 20)]).splitlines() if "@" in line] == ["ndcg@20"]
    with pytest.raises(DataError, match="no map@20"):
        tables(report, [("map", 20)])


def test_a_row_without_a_number_of_users():
    # Published numbers of a paper may stand beside our own.
    published = {**aggregate([row("MetaKG (paper)", mean=0.3)])[0], "n_users": None}
    assert tables([published]).splitlines()[-1] == "users"


def test_settings_in_one_line():
    report = aggregate([row(seed=2), row("walk", seed=1, mask="support+train")])
    assert rules_of(report) == "protocol paper, all items ranked, mask support and support+train, seeds 1, 2"
    assert rules_of(aggregate([row(seed=None)])) == "protocol paper, all items ranked, mask support"


def test_a_bar_in_a_name_does_not_break_markdown():
    assert grid(["a|b"], [["x"]], markdown=True) == "| a\\|b |\n| ---- |\n| x    |\n"


def test_rows_on_disk(tmp_path):
    report = aggregate(REPORT)
    write_rows(tmp_path / "rows.jsonl", report)
    assert read_rows(tmp_path / "rows.jsonl") == report
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\nnot json\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"bad\.jsonl line 2: found text that is not JSON"):
        read_rows(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: found a JSON list"):
        read_rows(tmp_path / "bad.jsonl")
    with pytest.raises(DataError, match="nowhere"):
        read_rows(tmp_path / "nowhere.jsonl")
