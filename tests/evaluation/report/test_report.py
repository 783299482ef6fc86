import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from evaluation.report.charts import COLOURS
from evaluation.report.data import (
    CameraSamples,
    DataTable,
    DomainDifference,
    PolicyCard,
    ReportData,
)
from evaluation.report.images import PictureError, clip, data_uri, gif, png
from evaluation.report.page import ReportError, page, write_report
from evaluation.report.stylesheet import CSS
from evaluation.session.results import compare_all, policy_results, results_table, write_summary
from evaluation.session.trials import LatencySummary, Trial, TrialError


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
        assert attribute.startswith(("data:image/", "#"))
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert outline.all("html")[0]["lang"] == "en"
    assert len(outline.all("h1")) == 1
    assert all(image["alt"] for image in outline.all("img"))
    assert len(outline.all("caption")) == len(outline.all("table")) > 4
    assert all("scope" in head for head in outline.all("th"))
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
    assert "“fixed” succeeded in 2 of 10 from the same starting points (20 %)" in text
    for section in ("Paired comparison", "What the cameras saw", "Loop latency", "What falls short"):
        assert f">{section}</h2>" in text
    assert text.index("randomised") < text.index("fixed")  # the order of `policies`


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


def test_gif_plays_at_true_speed():
    frames = [np.full((6, 9, 3), 20 * i, np.uint8) for i in range(10)]
    image = Image.open(io.BytesIO(gif(frames, 20, scale=2, hold_last=1.0)))
    assert image.size == (18, 12)
    assert image.n_frames == 10
    durations = []
    for i in range(image.n_frames):
        image.seek(i)
        durations.append(image.info["duration"])
    assert durations == [50] * 9 + [1000]


def test_fast_gif_skips_frames_and_keeps_its_length():
    frames = [np.full((4, 4, 3), i, np.uint8) for i in range(0, 200)]
    image = Image.open(io.BytesIO(gif(frames, 100, hold_last=0.02)))
    total = 0
    for i in range(image.n_frames):
        image.seek(i)
        total += image.info["duration"]
    assert total == pytest.approx(2000, abs=40)


def test_png_keeps_rgb_order():
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0] = 200
    assert Image.open(io.BytesIO(png(image))).convert("RGB").getpixel((0, 0)) == (200, 0, 0)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "0 frames"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "different shapes"),
        ([np.zeros((4, 4, 3), np.float32)], "float32"),
        ([np.zeros((4, 4), np.uint8)], "expected uint8"),
    ],
)
def test_wrong_frames_are_refused(frames, message):
    with pytest.raises(PictureError, match=message):
        gif(frames, 10)


def test_unknown_picture_format_is_refused():
    with pytest.raises(PictureError, match="expected PNG, GIF or JPEG"):
        data_uri(b"<svg onload=x>")
