"""Sub-commands that bring a policy nearer to its target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sim2real.parsing import parse, stages


@dataclass(frozen=True)
class AdaptConfig:
    """How a bundle is adapted."""

    bundle: Path
    """The policy to adapt."""
    target: Path
    """Recording of the target: the images.npz of 'sim2real evaluate --record-images' or its folder; or, with --camera,
    a folder of pictures with frames.json, or a ROS 2 recording (.mcap, or a rosbag2 folder)."""
    out: Path
    """Where the adapted bundle is written; must not exist. No bundle is written when no method wins."""
    camera: Path | None = None
    """Camera that pictures or recording were taken with, as 'sim2real calibrate' wrote it."""
    topic: str | None = None
    """Topic of a recording's pictures; may be left out where only one has any."""
    name: str = ""
    """Name of the adapted policy in reports; by default the parent's and the method's."""
    method: str = "auto"
    """auto tries as many as the trials can tell apart; or one of self-calibration, batch-norm,
    batch-norm+self-calibration, background-compositing, histogram, fourier, coral, adversarial, style-transfer."""
    budget: float = 900.0
    """Time after which auto begins no further method [s]."""
    seed: int = 0
    """Of everything random."""
    any_colours: bool = False
    """Take pictures that look as if red and blue were swapped."""


def adapt(arguments: list[str]) -> int:
    """Adapt a camera policy to what the real camera sees, from unlabelled frames."""
    config = parse(AdaptConfig, "adapt", adapt.__doc__, arguments)
    import json

    from adaptation.calibration.recordings import read_camera
    from adaptation.visual.adapt import adapt as run
    from adaptation.visual.methods import SOURCE_ONLY
    from adaptation.visual.target_files import read_target
    from policies.bundle import PolicyBundle

    if config.out.exists():
        raise ValueError(f"'{config.out}' exists already; choose another --out, or remove it")
    bundle = PolicyBundle.load(config.bundle)
    camera = read_camera(config.camera) if config.camera is not None else None
    target = read_target(config.target, bundle, camera, config.topic)
    with stages(("candidates",)) as progress:
        outcome = run(
            bundle,
            target,
            config.method,
            config.seed,
            lambda share, text: progress("candidates", share, text),
            config.budget,
            any_colours=config.any_colours,
        )
    _print_candidates(outcome.report)
    if outcome.report["skipped"]:
        print(f"not tried within the time (--budget): {', '.join(outcome.report['skipped'])}")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.with_name(f"{config.out.name}.report.json").write_text(json.dumps(outcome.report, indent=2) + "\n")
    if outcome.method == SOURCE_ONLY:
        judged, fewest = outcome.report["selection_trials"], outcome.report["fewest_selection_trials"]
        if judged < fewest:
            print(
                f"{judged} trials were held out to judge by; with fewer than {fewest} no candidate can win by the test"
            )
        print("no candidate beats source-only on the held-out frames: nothing written, keep the bundle you have")
        return 3
    replace(outcome.bundle, name=config.name or outcome.bundle.name).save(config.out)
    print(f"adapted by {outcome.method}: {config.out}")
    return 0


def _print_candidates(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "scatter of the goal", "beats source-only", title="adaptation, selected without labels")
    for method, figures in report["candidates"].items():
        chosen = " ◀" if method == report["chosen"] else ""
        table.add_row(
            method + chosen, f"{1000 * figures['scatter']:.1f} mm", "yes" if figures["beats_source_only"] else "no"
        )
    Console().print(table)
