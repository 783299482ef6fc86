"""What a lab must set up for a policy: work area, table, and what stands on it."""

from __future__ import annotations

from policies.bundle.policy_bundle import PolicyBundle
from policies.bundle.provenance import inherited


def cell_sizes(bundle: PolicyBundle) -> dict[str, float]:
    """Return the lengths [m] of what stands on the table, by their parameters' names; of an old bundle nothing."""
    cell = inherited(bundle.provenance, "cell") or {"sizes": {}}
    return {name: float(size["nominal"]) for name, size in cell["sizes"].items()}


def cell_table_height(bundle: PolicyBundle) -> float:
    """Return the height of the table's top in the arm's base frame [m]; of an old bundle 0."""
    cell = inherited(bundle.provenance, "cell") or {"table_height": 0.0}
    return float(cell["table_height"])


def cell_lines(bundle: PolicyBundle) -> list[str]:
    """Describe it for the reader, in lines; of an old bundle nothing."""
    cell = inherited(bundle.provenance, "cell")
    if cell is None:
        return []
    (x0, x1), (y0, y1) = cell["area"]
    lines = [f"table at {cell['table_height']:g} m, work area x {x0:g} to {x1:g} m, y {y0:g} to {y1:g} m (base frame)"]
    for name, shapes in cell["bodies"].items():
        sizes = "; ".join(f"{each['kind']} {' × '.join(f'{1000 * v:.0f}' for v in each['size'])} mm" for each in shapes)
        lines.append(f"{name}: {sizes}")
    if "colours" in cell:
        lines.append(f"things of distinct colours, among {', '.join(cell['colours'])}")
    for name, size in cell["sizes"].items():
        low, high = size["range"]
        trained = f" (trained with {1000 * low:.0f} to {1000 * high:.0f})" if low < high else ""
        lines.append(f"{name}: {1000 * size['nominal']:.0f} mm{trained}")
    return lines
