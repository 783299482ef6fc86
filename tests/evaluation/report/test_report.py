import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from evaluation.report.charts import COLOURS
from evaluation.report.data import (
    CameraSamples,
    DataTable,
    DomainDifference,
    PolicyCard,
    ReportData,
)
from evaluation.report.drift import measure_drift
from evaluation.report.failure_charts import regions
from evaluation.report.images import clip, data_uri
from evaluation.report.markup import points
from evaluation.report.page import ReportError, page, write_report
from evaluation.report.stylesheet import CSS
from evaluation.report.tables import latex, markdown
from evaluation.session.results import Inference, compare_all, policy_results, results_table, write_summary
from evaluation.session.trials import LatencySummary, Trial, TrialError
from evaluation.statistics.confidence_sequences import rate_sequence
from evaluation.statistics.sequential import compare_sequentially


def make_trial(policy: str, index: int, success: bool, **changes) -> Trial:
    trial = Trial(
        session="s",
        policy=policy,
        bundle="ab" * 32,
        index=index,
        seed=100 + index,
        success=success,
        duration=3.0,
        initial={"x": 0.4 + 0.01 * index, "y": -0.1 + 0.02 * index},
        final_distance=0.01 if success else 0.2,
        time_to_success=2.0 if success else None,
        hold=0.5 if success else 0.0,
        interventions={"velocity": 2} if index == 0 else {},
        latency=LatencySummary.of([0.002, 0.004, 0.2], deadline=0.05),
    )
    return replace(trial, **changes)


def make_trials() -> tuple[Trial, ...]:
    """`plain` succeeds in 2 of 10, `random` in 9 of 10."""
    plain = [make_trial("plain", i, i < 2) for i in range(10)]
    random = [make_trial("random", i, i != 4) for i in range(10)]
    return (*plain, *random)


def make_data() -> ReportData:
    image = np.full((8, 8, 3), 120, np.uint8)
    return ReportData(
        title="Reach <b>&</b> hold",
        trials=make_trials(),
        policies=(PolicyCard("random", "randomised", "many looks"), PolicyCard("plain", "fixed")),
        success_radius=0.03,
        loop_period=0.05,
        clips=(clip([image, image // 2], 10, "It reaches.", "An arm above a cube"),),
        camera=(
            CameraSamples("Simulation", "ours", (image, image)),
            CameraSamples("Target", "MuJoCo", (image,)),
        ),
        differences=(DomainDifference("friction", "0.5–1.0", "1.4"),),
        tables=(DataTable("Adapter", "Scores.", ("candidate", "score"), (("source", "0.2"),)),),
        wall_time=90.0,
        made={"Machine": "two cores"},
        commands=("sim2real demo --name '<x>'",),
        shortcomings=("one seed",),
    )


class Outline(HTMLParser):
    """Checks nesting, and collects what an accessibility check asks for."""

    VOID = frozenset(("meta", "img", "source", "circle", "path", "line", "rect"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


def test_page_is_well_formed_self_contained_and_accessible():
    text = page(make_data())
    outline = Outline(text)
    for attribute in re.findall(r'(?:src|srcset|href)="([^"]*)"', text):
        assert attribute.startswith(("data:image/", "data:video/mp4", "#"))
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert outline.all("html")[0]["lang"] == "en"
    assert len(outline.all("h1")) == 1
    assert all(image["alt"] for image in outline.all("img"))
    assert len(outline.all("caption")) == len(outline.all("table")) > 4
    assert all("scope" in head for head in outline.all("th"))
    (video,) = outline.all("video")
    assert video["aria-label"] == "An arm above a cube"
    assert "controls" in video
    assert "autoplay" not in video  # no motion that nobody asked for
    ids = [attributes["id"] for _, attributes in outline.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in outline.found:
        for reference in attributes.get("aria-labelledby", "").split():
            assert reference in ids
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids
    levels = [int(tag[1]) for tag, _ in outline.found if re.fullmatch("h[1-6]", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_page_tells_the_result():
    text = page(make_data())
    assert "“randomised” succeeded in 9 of 10 trials (90 %, 95 % interval 60–98 %)" in text
    assert (
        "“fixed” succeeded in 2 of 10 from the same starting points (20 %). The difference is +70.0 points "
        "(95 % interval +26.6 to +86.5; p = 0.016)." in text
    )
    for section in ("Paired comparison", "What the cameras saw", "Loop latency", "What falls short"):
        assert f">{section}</h2>" in text
    assert text.index("randomised") < text.index("fixed")  # the order of `policies`


def planned(inference: Inference, trials: tuple[Trial, ...]) -> ReportData:
    cards = tuple(PolicyCard(name, name, inference=inference) for name in ("random", "plain"))
    return ReportData(title="Planned", trials=trials, policies=cards)


def test_the_report_uses_the_level_of_the_plan():
    """Seven pairs apart of ten: p = 0.016, shown at 5 % and not at 1 %."""
    data = planned(Inference(alpha=0.01), make_trials())
    text = page(data)
    assert "(90 %, 99 % interval 49–99 %)" in text
    assert ": these trials do not show a difference" in text
    assert "none shown at 1 %" in text
    assert "95 %" not in text
    assert data.summary()["success_random_low"] == pytest.approx(0.49277, abs=1e-5)
    for exported in (markdown(data), latex(data)):
        assert "99" in exported
        assert "95" not in exported


def test_a_sequential_plan_has_anytime_valid_figures_as_its_headline():
    pairs = [(i, i % 6 != 5, i % 6 == 0) for i in range(30)]
    trials = tuple(make_trial(name, i, ok) for i, a, b in pairs for name, ok in (("random", a), ("plain", b)))
    data = planned(Inference(alpha=0.1, sequential=True), trials)
    (found,) = compare_all(data.results)
    test = compare_sequentially("random", "plain", [a for _, a, _ in pairs], [b for _, _, b in pairs], alpha=0.1)
    assert found.p_value == test.p_value < 0.1
    assert found.difference.low > 0
    rate = rate_sequence([a for _, a, _ in pairs], 0.1)
    assert (data.results[0].rate.low, data.results[0].rate.high) == (rate.low, rate.high)
    text = page(data)
    assert f"(83 %, anytime-valid 90 % interval {100 * rate.low:.0f}–{100 * rate.high:.0f} %)" in text
    assert f"anytime-valid p {'&lt; 0.001' if test.p_value < 0.001 else f'= {test.p_value:.3f}'})" in text
    assert "Wilson" not in text
    assert "McNemar" not in text
    assert "sequential test" in markdown(data)


def test_no_row_calls_a_difference_significant_beside_an_interval_that_reads_as_zero():
    for only_a in range(4, 30):
        trials = [make_trial("random", i, i < only_a + 20) for i in range(200)]
        trials += [make_trial("plain", i, 20 <= i - only_a < 40) for i in range(200)]
        (found,) = compare_all(planned(Inference(), tuple(trials)).results)
        low, high = points(found)[1].split(" to ")
        crosses = low.startswith(("−", "0")) and high.startswith(("+", "0"))
        assert crosses == (not found.significant), (only_a, low, high)


def test_every_trial_has_its_row_and_what_was_not_measured_is_empty():
    void = make_trial("plain", 10, False, void=True, void_reason="the cable caught", final_distance=None)
    text = page(replace(make_data(), trials=(*make_trials(), void)))
    section = text[text.index('id="every-trial"') :]
    assert "All 21 trials, 1 of them void" in section
    rows = re.findall(r"<tr><th scope=\"row\">(\d+)</th>(.*?)</tr>", section)
    assert [int(number) for number, _ in rows] == list(range(1, 22))
    cells = re.findall(r"<td>(.*?)</td>", rows[-1][1])
    assert cells == ["fixed", "10 (0.50, 0.10)", "1", "void", "", "", "", "", "", "the cable caught"]


def test_raters_are_compared_as_far_as_two_judged():
    judged = [replace(t, automatic=t.success, operator=t.success != (t.index == 3)) for t in make_trials()]
    data = replace(make_data(), trials=tuple(judged), second_verdicts={("plain", 0): True, ("plain", 3): False})
    section = page(data)
    section = section[section.index('id="agreement-of-raters"') :]
    rows = {
        head: re.findall(r"<td[^>]*>(.*?)</td>", cells)
        for head, cells in re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", section)
    }
    assert rows["task’s measurement, operator"][:3] == ["20", "2", "10 % (3–30 %)"]
    assert rows["task’s measurement, operator"][5].startswith("0.80 (")
    assert rows["operator, second rater"][:2] == ["2", "1"]
    assert ">Agreement of raters</h2>" not in page(make_data())


def test_a_drift_of_success_is_found_and_a_steady_rate_is_not():
    falling = [make_trial("random", i, i < 22) for i in range(40)]
    steady = [make_trial("plain", i, i % 3 > 0) for i in range(40)]
    trials = [t for pair in zip(falling, steady) for t in pair]
    data = replace(make_data(), trials=tuple(trials))
    drifts = measure_drift(data.trials, data.results)
    by_policy = {d.policy: d for d in drifts}
    theirs = stats.mannwhitneyu(np.arange(1, 45, 2), np.arange(45, 81, 2)).pvalue
    assert by_policy["random"].p_value == pytest.approx(theirs)
    assert by_policy["random"].p_corrected == pytest.approx(2 * theirs)
    assert by_policy["plain"].p_value > 0.5
    assert [p.estimate for p in by_policy["random"].parts] == [1.0, 1.0, 6 / 8, 0.0, 0.0]
    text = page(data)
    assert ">Success over time</h2>" in text
    assert text.count("a drift</td>") == 1
    assert text.count("success over time</title>") == 2
    assert ">Success over time</h2>" not in page(replace(data, trials=tuple(trials[:8])))


def test_an_empty_region_looks_empty():
    placed = [make_trial("random", i, i > 4, initial={"x": 0.40, "y": 0.0}) for i in range(12)]
    drawn = regions("random", [(0.4, 0.0)] * 12, [t.success for t in placed], (0.4, 0.6, -0.1, 0.1), 0)
    assert drawn.count('class="empty"') == drawn.count("no trial") == 8
    assert drawn.count('class="heat"') == 1
    assert "5 / 12" in drawn


def test_a_policy_without_a_trial_that_counts_is_named():
    text = page(replace(make_data(), policies=(*make_data().policies, PolicyCard("late", "late"))))
    assert re.search(r"late</th><td class=\"n\">no trial counts</td><td class=\"n\">–</td>", text)


def test_text_is_escaped():
    text = page(make_data())
    assert "Reach &lt;b&gt;&amp;&lt;/b&gt; hold" in text
    assert "<b>&</b>" not in text
    assert "&#x27;&lt;x&gt;&#x27;" in text


def test_only_trials_are_needed():
    trials = tuple(replace(t, initial={}, final_distance=None, latency=None) for t in make_trials())
    text = page(ReportData(title="Bare", trials=trials))
    Outline(text)
    for absent in ("Final distance", "Over the workspace", "Loop latency", "A trial", "Training and target"):
        assert f">{absent}</h2>" not in text


@pytest.mark.parametrize("success", [True, False])
def test_one_trial_makes_a_page(success: bool):
    Outline(page(ReportData(title="One", trials=(make_trial("only", 0, success),))))


def test_many_policies_make_a_page():
    trials = tuple(make_trial(f"p{p}", i, (p + i) % 3 > 0) for p in range(8) for i in range(3))
    Outline(page(ReportData(title="Many", trials=trials)))


def test_void_trials_count_nowhere():
    void = make_trial("plain", 10, True, void=True, void_reason="success at reset")
    data = replace(make_data(), trials=(*make_trials(), void))
    assert data.summary()["success_plain_trials"] == 10
    assert data.results[1].voided == 1
    with pytest.raises(ReportError, match="1 trials, none of which counts"):
        page(ReportData(title="Void", trials=(void,)))


def test_a_trial_that_counts_twice_is_refused():
    with pytest.raises(TrialError, match=r"'plain': trial 3 counts twice"):
        policy_results((*make_trials(), make_trial("plain", 3, True)))


def test_pairs_use_shared_indexes_only():
    trials = [*make_trials(), make_trial("random", 55, True)]
    (comparison,) = compare_all(policy_results(trials))
    assert (comparison.a, comparison.b, comparison.pairs) == ("random", "plain", 10)
    assert (comparison.only_a, comparison.only_b) == (7, 0)
    assert comparison.p_value == pytest.approx(2 / 2**7)


def test_summary_has_the_agreed_keys(tmp_path):
    data = make_data()
    write_summary(tmp_path / "summary.json", data.summary())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(tmp_path.iterdir()) == [tmp_path / "summary.json"]
    assert summary["success_random"] == 0.9
    assert summary["success_random_low"] == pytest.approx(0.5958, abs=1e-4)
    assert summary["success_random_high"] == pytest.approx(0.9821, abs=1e-4)
    assert summary["success_random_trials"] == 10
    assert summary["wall_minutes"] == 1.5
    assert summary["loop_p99_ms"] == pytest.approx(200.0, rel=0.06)


def test_what_was_not_measured_is_null_and_not_zero():
    trials = tuple(replace(t, latency=None) for t in make_trials())
    summary = ReportData(title="x", trials=trials).summary()
    assert summary["wall_minutes"] is None
    assert summary["loop_p99_ms"] is None


def test_console_table_shows_rates():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_table(policy_results(make_trials()), "Reach"))
    text = console.export_text()
    assert re.search(r"random .* 90 % .* 60–98 % .* 9/10 .* 1.0 cm .* 2.0 s", text)


def test_report_is_written_whole_or_not_at_all(tmp_path):
    write_report(tmp_path / "report.html", make_data())
    before = (tmp_path / "report.html").read_text()
    with pytest.raises(ReportError):
        write_report(tmp_path / "report.html", replace(make_data(), trials=()))
    assert (tmp_path / "report.html").read_text() == before
    with pytest.raises(ReportError, match="folder does not exist"):
        write_report(tmp_path / "none" / "report.html", make_data())


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of `#rgb` or `#rrggbb`."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    channels = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_have_enough_contrast_in_light_and_dark():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    palettes = re.findall(r":root\{(.*?)\}", CSS, re.DOTALL)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--(\w+):(#[0-9a-f]+)", palette))
        assert len(colours) == 8 + COLOURS
        for ground in ("paper", "card", "wash"):
            for ink in ("ink", "soft", "accent", "bad", *(f"c{i}" for i in range(COLOURS))):
                assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def test_without_an_encoder_the_last_frame_is_shown_and_the_remedy_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)  # as where PyAV is not installed
    made = clip([np.zeros((8, 8, 3), np.uint8)], 10, "It reaches.", "An arm")
    assert made.mp4 == b""
    assert made.caption == "It reaches. (the last frame; a video needs PyAV: pip install av)"
    text = page(replace(make_data(), clips=(made,)))
    assert "<video" not in text
    assert f'src="{data_uri(made.still)}" alt="An arm"' in text
