"""Locate bodies in images of cameras that may stand anywhere, from their calibration.

    calibration ─┐
    joints ──────┴▶ where the arm's landmarks are expected ─┬▶ pose and focal length of each camera ─┐
    image ────────▶ where they are detected ────────────────┘                                        ├▶ places [m]
              └───▶ where the bodies are detected ───────────────────────────────────────────────────┘

Both steps are least-squares problems with a prior, solved by Gauss-Newton: one camera is enough where the prior says
how high a body is. A detection counts by how wide its map is. Nothing is learned by gradients; how exact detections
are, and where bodies may be, is taken from labelled renders.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from policies.models.keypoint_encoder import ForwardKinematics
from robots.kinematics import KinematicChain
from robots.model import RobotModel

FOCAL = 0.03
"""Prior standard deviation of the relative focal length."""
STEPS = 3
"""Gauss-Newton steps of either problem."""
GROSS = 3.0
"""Residual at which a landmark has half its weight after the first step (Cauchy's loss), in standard deviations."""
NEAREST = 0.05
"""Least depth [m]: nothing that counts is nearer to a camera."""
LEAST_NOISE = 0.3
"""Least standard deviation of a detection [px]."""


class Located(NamedTuple):
    """What was found in one set of images."""

    places: Tensor
    """(B, P, 3) of the bodies [m, base frame]."""
    stds: Tensor
    """(B, P, 3) their standard deviations along the base's axes [m], if the cameras stood where they were found."""
    residuals: Tensor
    """(B, C) of the arm's landmarks that count, in standard deviations, root mean square."""
    certainty: Tensor
    """(B, C) summed weights of these landmarks, each at most 1."""


class Pinholes(NamedTuple):
    """Cameras, one row each (B, C, …)."""

    R: Tensor
    """(B, C, 3, 3)"""
    p: Tensor
    """(B, C, 3) [m]"""
    f: Tensor
    """(B, C, 2) [px]"""
    c: Tensor
    """(B, C, 2) [px]"""

    @classmethod
    def of(cls, calibration: Tensor) -> Pinholes:
        """Take them from calibrations (B, C, 16), see `CameraModel.calibration`."""
        T = calibration[..., 4:].unflatten(-1, (3, 4))
        return cls(T[..., :3], T[..., 3], calibration[..., :2], calibration[..., 2:4])

    def look(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project points (B, C or 1, K, 3); return pixels (B, C, K, 2), rays (B, C, K, 2) and depths (B, C, K, 1)."""
        there = (points - self.p[..., None, :]) @ self.R
        depth = there[..., 2:].clamp_min(NEAREST)
        ray = there[..., :2] / depth
        return self.f[..., None, :] * ray + self.c[..., None, :], ray, there[..., 2:]

    def moved(self, state: Tensor) -> Pinholes:
        """Turn, shift and zoom by states (B, C, 7): turn [rad], shift [m], relative focal length."""
        return Pinholes(
            self.R @ _rotation(state[..., :3]), self.p + state[..., 3:6], self.f * (1.0 + state[..., 6:]), self.c
        )


class Triangulation(nn.Module):
    """Places of the first keypoints, the bodies, from the pixels of all keypoints; the others are the arm's."""

    still: Tensor
    noise: Tensor
    usual: Tensor
    middle: Tensor
    information: Tensor
    prior: Tensor

    def __init__(
        self, robot: RobotModel, bodies: int, height: int, width: int, position_error: float, rotation_error: float
    ):
        """Prepare for images of `height` × `width` px from cameras whose pose is known within errors.

        The errors [m, rad] are half widths of uniform distributions. Landmarks that the fingers move do not count.
        """
        super().__init__()
        self.bodies = bodies
        self._last = width - 1 - EDGE, height - 1 - EDGE
        chains = [KinematicChain.from_urdf(robot.urdf, link, robot.base_link) for link in robot.landmarks]
        self._rigid = [set(chain.joint_names) <= set(robot.joint_names) for chain in chains]
        self._joints = [
            [robot.joint_names.index(name) for name in chain.joint_names] if rigid else []
            for chain, rigid in zip(chains, self._rigid)
        ]
        self.links = nn.ModuleList(
            ForwardKinematics(chain) if rows else nn.Identity() for chain, rows in zip(chains, self._joints)
        )
        still = [chain.p_fixed[-1].tolist() for chain in chains]
        self.register_buffer("still", torch.tensor(still).reshape(-1, 3), persistent=False)
        keypoints = bodies + len(chains)
        self.register_buffer("noise", torch.ones(keypoints))
        self.register_buffer("usual", torch.ones(keypoints))
        self.register_buffer("middle", torch.zeros(bodies, 3))
        self.register_buffer("information", torch.eye(3).repeat(bodies, 1, 1))
        prior = [rotation_error / 3**0.5] * 3 + [position_error / 3**0.5] * 3 + [FOCAL]
        self.register_buffer("prior", torch.tensor(prior).clamp_min(1e-4))

    def forward(self, points: Tensor, q: Tensor, calibration: Tensor, mask: Tensor | None = None) -> Located:
        """Locate the bodies.

        Args:
            points: (B, C, K, 3) x, y and spread of the keypoints [px].
            q: (B, n) joint positions [rad].
            calibration: (B, C, 16) of the cameras, off by their errors.
            mask: (B, C) 0 for cameras whose detections do not count; by default all do.
        """
        cameras, residuals, certainty = self.correct(Pinholes.of(calibration), points[:, :, self.bodies :], q, mask)
        places, stds = self.triangulate(cameras, points[:, :, : self.bodies], mask)
        return Located(places, stds, residuals, certainty)

    def arm(self, q: Tensor) -> Tensor:
        """Return where the arm's landmarks are (B, L, 3) [m, base frame] at `q` (B, n) [rad]."""
        found = [
            link(q[:, rows]) if rows else self.still[k].expand(len(q), 3)
            for k, (link, rows) in enumerate(zip(self.links, self._joints))
        ]
        return torch.stack(found, dim=1)

    def correct(
        self, nominal: Pinholes, detected: Tensor, q: Tensor, mask: Tensor | None = None
    ) -> tuple[Pinholes, Tensor, Tensor]:
        """Move cameras to where they explain the arm's landmarks `detected` (B, C, L, 3) [px] best.

        Returns:
            The cameras, and residuals and certainty as in `Located`.
        """
        nothing = torch.zeros_like(nominal.p[..., 0])
        if not any(self._rigid):
            return nominal, nothing, nothing
        points = self.arm(q)[:, None]
        variance = self._variance(detected, slice(self.bodies, None))
        known = self._inside(detected) * torch.tensor(self._rigid).float()[:, None]
        known = known if mask is None else known * mask[:, :, None, None]
        state = torch.cat([nominal.p, nominal.p, nominal.f[..., :1]], dim=2) * 0.0
        for step in range(STEPS):
            cameras = nominal.moved(state)
            pixels, ray, depth = cameras.look(points)
            residual = detected[..., :2] - pixels
            squares = residual.square() / variance
            weight = known * (depth > NEAREST).float() / variance
            if step:
                weight = weight / (1.0 + squares.sum(-1, keepdim=True) / GROSS**2)
            jacobian = self._by_state(cameras, ray, depth.clamp_min(NEAREST))
            scaled = (jacobian * self.prior).flatten(2, 3)
            weighted = scaled * weight.expand_as(residual).flatten(2)[..., None]
            # increments, which vanish: rounding then does not matter
            pull = weighted.transpose(2, 3) @ residual.flatten(2)[..., None] - (state / self.prior)[..., None]
            information = weighted.transpose(2, 3) @ scaled + torch.eye(7)
            state = state + self.prior * solve(information, pull)[..., 0]
        weights = (weight * variance)[..., 0]
        certainty = weights.sum(-1)
        mean = (weights * squares.sum(-1)).sum(-1) / (2.0 * certainty.clamp_min(0.1))
        return nominal.moved(state), mean.sqrt(), certainty

    def triangulate(self, cameras: Pinholes, detected: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return places and standard deviations, as in `Located`, of bodies `detected` (B, C, P, 3) [px]."""
        precision = 1.0 / self._variance(detected, slice(0, self.bodies))
        precision = (precision if mask is None else precision * mask[:, :, None, None])[..., None]
        places = self.middle.expand(len(detected), -1, 3)
        for _ in range(STEPS):
            pixels, ray, depth = cameras.look(places[:, None])
            away = cameras.R[:, :, None].transpose(3, 4)  # rows: the camera's axes in the base frame
            # d pixel / d place = f / z · (axis - ray · optical axis)
            by_place = away[..., :2, :] - ray[..., None] * away[..., 2:, :]
            by_place = by_place * (cameras.f[:, :, None] / depth.clamp_min(NEAREST))[..., None]
            weighted = by_place * precision
            information = self.information + (weighted.transpose(3, 4) @ by_place).sum(1)
            pull = (weighted.transpose(3, 4) @ (detected[..., :2] - pixels)[..., None]).sum(1)
            pull = pull + self.information @ (self.middle - places)[..., None]
            places = places + solve(information, pull)[..., 0]
        covariance = solve(information, torch.eye(3).expand_as(information))
        return places, torch.stack([covariance[..., k, k] for k in range(3)], dim=-1).clamp_min(1e-8).sqrt()

    @torch.no_grad()
    def fit(self, points: Tensor, pixels: Tensor, places: Tensor, q: Tensor, calibration: Tensor) -> None:
        """Take from labelled renders how exact detections are, and where bodies may be.

        Args:
            points: (N, C, K, 3) detections [px].
            pixels: (N, C, K, 2) where the keypoints are in the images.
            places: (N, K, 3) where they are [m, base frame].
            q: (N, n) joint positions [rad].
            calibration: (N, C, 16) of the cameras, off by their errors.
        """
        bodies = places[:, : self.bodies]
        self.middle.copy_(bodies.mean(0))
        offset = bodies - self.middle
        covariance = torch.einsum("npi,npj->pij", offset, offset) / len(offset)
        self.information.copy_(torch.linalg.inv(covariance + 1e-6 * torch.eye(3)))
        nominal = Pinholes.of(calibration)
        for k in range(self.bodies, points.shape[2]):
            self._fit_noise(k, points[:, :, k], pixels[:, :, k])
        cameras, *_ = self.correct(nominal, points[:, :, self.bodies :], q)
        expected, *_ = cameras.look(bodies[:, None])  # with what is left of the cameras' errors
        for k in range(self.bodies):
            self._fit_noise(k, points[:, :, k], expected[:, :, k])

    def _fit_noise(self, k: int, detected: Tensor, pixels: Tensor) -> None:
        """Take the noise of keypoint `k` from detections (N, C, 3) and where it is expected (N, C, 2) [px]."""
        shown = self._inside(torch.nan_to_num(pixels, nan=-1.0))[..., 0] > 0
        if shown.sum() >= FEWEST:
            error = (detected[..., :2] - pixels)[shown].abs()
            self.noise[k] = (1.4826 * error.median()).clamp_min(LEAST_NOISE)
            self.usual[k] = detected[shown][:, 2].median().clamp_min(1e-3)

    def _variance(self, detected: Tensor, rows: slice) -> Tensor:
        """Return the variance (B, C, K, 1) of detections per axis [px²]."""
        return (self.noise[rows, None] * (detected[..., 2:] / self.usual[rows, None]).clamp_min(1.0)).square()

    def _inside(self, pixels: Tensor) -> Tensor:
        """Return (…, 1) whether pixels (…, 2 or 3) lie within the image, as 0 or 1."""
        x, y = pixels[..., 0:1], pixels[..., 1:2]
        right, bottom = self._last
        return (x > EDGE).float() * (x < right).float() * (y > EDGE).float() * (y < bottom).float()

    @staticmethod
    def _by_state(cameras: Pinholes, ray: Tensor, depth: Tensor) -> Tensor:
        """Return the Jacobian (B, C, L, 2, 7) of the pixels by turn, shift and relative focal length."""
        x, y = ray[..., 0], ray[..., 1]
        turn_x = torch.stack([x * y, -1.0 - x * x, y], dim=-1)
        turn_y = torch.stack([1.0 + y * y, -x * y, -x], dim=-1)
        axes = cameras.R[:, :, None].transpose(3, 4)
        shift = (ray[..., None] * axes[..., 2:, :] - axes[..., :2, :]) / depth[..., None]
        moved = torch.cat([torch.stack([turn_x, turn_y], dim=-2), shift, ray[..., None]], dim=-1)
        return moved * cameras.f[:, :, None, :, None]


FEWEST = 50
"""Least number of renders from which the noise of a detection is estimated."""
EDGE = 1.5
"""Detections nearer to the image's edge do not count: the point may be beyond [px]."""


def solve(A: Tensor, B: Tensor) -> Tensor:
    """Solve A X = B for symmetric, positive definite A (…, n, n) and B (…, n, m), by Gauss-Jordan elimination.

    It is made of operations that any runtime has.
    """
    n = A.shape[-1]
    rows, units = torch.cat([A, B], dim=-1), torch.eye(n)
    for i in range(n):
        row = rows[..., i : i + 1, :] / rows[..., i : i + 1, i : i + 1]
        rows = rows + (units[:, i : i + 1] - rows[..., :, i : i + 1]) * row
    return rows[..., n:]


def _rotation(turn: Tensor) -> Tensor:
    """Return rotations (…, 3, 3) by small turns (…, 3) [rad]: Cayley's, a rotation for all."""
    x, y, z = (0.5 * turn).unbind(-1)
    square = x * x + y * y + z * z
    entries = [
        *(1 + x * x - y * y - z * z, 2 * (x * y - z), 2 * (x * z + y)),
        *(2 * (x * y + z), 1 - x * x + y * y - z * z, 2 * (y * z - x)),
        *(2 * (x * z - y), 2 * (y * z + x), 1 - x * x - y * y + z * z),
    ]
    return (torch.stack(entries, dim=-1) / (1.0 + square)[..., None]).unflatten(-1, (3, 3))
