"""The sub-command that runs several trainings side by side."""

from __future__ import annotations

from sim2real.parsing import parse, stages


def sweep(arguments: list[str]) -> int:
    """Train several seeds and settings side by side, here or on a Ray cluster.

    What stands behind `--` goes to every `sim2real train`: sweep --out runs/batch --seeds 0 1 2 -- --task push.
    """
    if "--" in arguments:
        split = arguments.index("--")
        own, shared = arguments[:split], arguments[split + 1 :]
    else:
        own, shared = arguments, []
    from policies.sweep import STAGES, SweepConfig
    from policies.sweep import sweep as run

    config = parse(SweepConfig, "sweep", sweep.__doc__, own)
    with stages(STAGES) as progress:
        report = run(config, shared, progress)
    print(f"{config.out / 'sweep.json'}, sweep.png")
    for found in report["settings"]:
        setting = ", ".join(f"{name} {value}" for name, value in found["setting"].items()) or "all"
        if "median" in found:
            each = " ".join(f"{value:.3f}" for value in found["success"])
            mean = f"mean {found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            spent = f"; {found['cpu_seconds']:.0f} s of processor time" if "cpu_seconds" in found else ""
            print(f"  {setting:32} median {found['median']:.3f}, {mean} of seeds {each}{spent}")
        else:
            print(f"  {setting:32} {len(found['runs'])} runs; they were not judged: see their metrics.json")
    return 0
