"""Poses of all links of an arm from its joint positions, for drawing it.

`KinematicChain` answers for one end effector; this answers for every link, merged fixed ones included.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from robots.compiled import njit
from robots.kinematics import KinematicsError, joint_axis, joint_origin


@njit(cache=True)
def _walk(parent, T_fixed, axis, kind, joint, q, T):
    """Fill T (L, 4, 4) with link poses; kind 0 fixed, 1 turning, 2 sliding. No BLAS: it is slower."""
    local = np.zeros((3, 4))
    for i in range(parent.shape[0]):
        F = T_fixed[i]
        local[:] = F[:3]
        x, y, z = axis[i, 0], axis[i, 1], axis[i, 2]
        if kind[i] == 1:
            c, s = np.cos(q[joint[i]]), np.sin(q[joint[i]])
            t = 1.0 - c  # Rodrigues' formula
            for row in range(3):
                u, v, w = F[row, 0], F[row, 1], F[row, 2]
                local[row, 0] = u * (t * x * x + c) + v * (t * x * y + s * z) + w * (t * x * z - s * y)
                local[row, 1] = u * (t * x * y - s * z) + v * (t * y * y + c) + w * (t * y * z + s * x)
                local[row, 2] = u * (t * x * z + s * y) + v * (t * y * z - s * x) + w * (t * z * z + c)
        elif kind[i] == 2:
            for row in range(3):
                local[row, 3] += (F[row, 0] * x + F[row, 1] * y + F[row, 2] * z) * q[joint[i]]
        if parent[i] < 0:
            T[i, :3] = local
        else:
            P = T[parent[i]]
            for row in range(3):
                for column in range(4):
                    value = P[row, 0] * local[0, column] + P[row, 1] * local[1, column] + P[row, 2] * local[2, column]
                    T[i, row, column] = value
                T[i, row, 3] += P[row, 3]
        T[i, 3, 0] = T[i, 3, 1] = T[i, 3, 2] = 0.0
        T[i, 3, 3] = 1.0


@dataclass(frozen=True)
class LinkTree:
    """All links of a URDF, parents before children."""

    links: tuple[str, ...]
    """Link names, the root first."""
    parent: np.ndarray
    """(L,) index of each link's parent, -1 for the root."""
    T_fixed: np.ndarray
    """(L, 4, 4) pose of each link's joint in its parent."""
    axis: np.ndarray
    """(L, 3) unit axis of each link's joint."""
    kind: np.ndarray
    """(L,) 0 fixed, 1 turning, 2 sliding."""
    joint: np.ndarray
    """(L,) index of each link's joint in the joint positions given to `poses`, -1 for fixed ones."""

    @classmethod
    def from_urdf(cls, urdf_xml: str, joint_names: Sequence[str]) -> LinkTree:
        """Read the tree; `joint_names` says in which order `poses` is given the joint positions.

        Raises:
            KinematicsError: if the URDF moves a joint that is not among `joint_names`.
        """
        root = ElementTree.fromstring(urdf_xml)
        children: dict[str, list[ElementTree.Element]] = {}
        has_parent = set()
        for element in root.findall("joint"):
            parent, child = element.find("parent"), element.find("child")
            assert parent is not None
            assert child is not None
            children.setdefault(parent.get("link", ""), []).append(element)
            has_parent.add(child.get("link", ""))
        names = [link.get("name", "") for link in root.findall("link") if link.get("name") not in has_parent][:1]
        parents, fixed, axes, kinds, joints = [-1], [np.eye(4)], [np.array([1.0, 0.0, 0.0])], [0], [-1]
        for index, link in enumerate(names):  # grows while it is walked: breadth first
            for element in children.get(link, []):
                R, p = joint_origin(element)
                T = np.eye(4)
                T[:3, :3], T[:3, 3] = R, p
                kind = {"fixed": 0, "prismatic": 2}.get(element.get("type", ""), 1)
                name = element.get("name", "")
                if kind and name not in joint_names:
                    raise KinematicsError(f"URDF: joint '{name}' moves, but is not among {', '.join(joint_names)}")
                child = element.find("child")
                assert child is not None
                names.append(child.get("link", ""))
                parents.append(index)
                fixed.append(T)
                axes.append(joint_axis(element) if kind else np.zeros(3))
                kinds.append(kind)
                joints.append(list(joint_names).index(name) if kind else -1)
        return cls(tuple(names), np.array(parents), np.array(fixed), np.array(axes), np.array(kinds), np.array(joints))

    @cached_property
    def moves(self) -> np.ndarray:
        """(L,) bool: whether a joint lies between the root and each link."""
        moves = self.kind != 0
        for i, parent in enumerate(self.parent):
            moves[i] |= parent >= 0 and moves[parent]
        return moves

    def poses(self, q: np.ndarray) -> np.ndarray:
        """Compute the poses (L, 4, 4), link -> root, at joint positions `q` [rad or m]."""
        T = np.empty((len(self.links), 4, 4))
        _walk(self.parent, self.T_fixed, self.axis, self.kind, self.joint, np.asarray(q, np.float64), T)
        return T
