"""The policy bundle: everything a robot needs to run a policy, verifiable, in one folder or zip."""

from policies.bundle.policy_bundle import PARITY_TOLERANCE, BundleError, PolicyBundle

__all__ = ["PARITY_TOLERANCE", "BundleError", "PolicyBundle"]
