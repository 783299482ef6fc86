"""Worker processes with several environments each, which exchange arrays through shared memory.

A step costs one byte to every worker and one byte back. Only what does not fit the arrays (the end of an
episode, an unusual `info`) is pickled. Workers are started afresh, not forked: a script that makes a pool
needs the usual `if __name__ == "__main__":`.

A pool with another transport, for instance on a cluster, would have the methods of `WorkerPool`.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import multiprocessing
import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import cloudpickle
import gymnasium as gym
import numpy as np

from robots.host.processes import end_with_pool, processor_seconds
from robots.specs import SpecError
from sim.vector.shared_arrays import SINGLE, Layout, lay_out

PLAIN, REPORTS, FAILED = b"k", b"s", b"!"
STEP, RESET, CALL, CLOSE = b"s", b"r", b"c", b"x"
TIMEOUT = 120.0
"""A worker that has not answered for so long, and has used no processor time meanwhile, counts as hung [s]."""
COLLECT_AFTER = 10_000
"""Objects after which a worker looks for cycles; Python's 700 are made in a few steps, and none is in a cycle."""


class WorkerError(RuntimeError):
    """A worker process raised, died or does not answer."""


class EnvReport(NamedTuple):
    """Data of one environment that does not fit the shared arrays."""

    env: int
    """Number of the environment."""
    final_obs: object
    """Last observation of the episode that has just ended, where the next one has begun; else None."""
    final_info: dict | None
    """The `info` that belongs to it."""
    info: dict
    """The `info` that belongs to the observation in the shared array."""


class WorkerPool:
    """Starts the worker processes and exchanges messages with them."""

    def __init__(self, make_envs: Sequence[Callable[[], gym.Env]], workers: int, *, same_step: bool):
        """Start `workers` processes and divide the environments among them in equal ranges.

        Args:
            make_envs: one factory for every environment; all must have the same spaces.
            workers: number of processes.
            same_step: whether an ended episode is followed by the next one's first observation in the same
                step, or in the next one.

        Raises:
            SpecError: if there is no environment, or the spaces are not arrays.
            WorkerError: if a worker cannot make its environments.
        """
        if not make_envs or workers < 1:
            raise SpecError(f"vector environment: {len(make_envs)} environments and {workers} workers; give at least 1")
        probe = make_envs[0]()
        self.observation_space, self.action_space = probe.observation_space, probe.action_space
        self.metadata, self.render_mode = dict(probe.metadata), probe.render_mode
        if self.render_mode == "human":
            probe.close()
            raise SpecError("vector environment: workers have no windows; use render_mode 'rgb_array'")
        self.layout = lay_out(probe, len(make_envs))
        probe.close()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["sim.env"])  # workers then share what importing costs in memory
        memory = context.RawArray("c", self.layout.nbytes)
        self.arrays = self.layout.views(memoryview(memory).cast("B"))
        bounds = np.linspace(0, len(make_envs), min(workers, len(make_envs)) + 1).round().astype(int).tolist()
        self.ranges = [range(low, high) for low, high in itertools.pairwise(bounds)]
        self._pipes: list[Connection] = []
        self._pollers: list[select.poll] = []
        self._processes = []
        self.closed = False
        try:
            for rows in self.ranges:
                here, there = context.Pipe()
                job = cloudpickle.dumps([make_envs[i] for i in rows])
                process = context.Process(
                    target=_work, args=(there, memory, self.layout, rows, job, same_step), daemon=True
                )
                process.start()
                there.close()  # so that a worker's death closes the pipe
                self._pipes.append(here)
                poller = select.poll()  # Connection.poll makes one at every call, which takes 30 µs
                poller.register(here.fileno(), select.POLLIN)
                self._pollers.append(poller)
                self._processes.append(process)
            self._collect(range(len(self.ranges)))
        except BaseException:
            self.close()
            raise

    def observations(self, copy: bool = True) -> np.ndarray | dict[str, np.ndarray]:
        """Return the newest observation of all environments, as a copy or as a view that the next step overwrites."""
        found = {n.removeprefix("obs/"): a for n, a in self.arrays.items() if n.startswith("obs/")}
        if copy:
            found = {name: array.copy() for name, array in found.items()}
        return found.get(SINGLE, found)

    def send_step(self, actions: np.ndarray) -> None:
        """Start a step of all environments with `actions` (n, ...)."""
        self.arrays["action"][:] = actions
        for worker, pipe in enumerate(self._pipes):
            self._send(worker, pipe, STEP)

    def wait_step(self) -> list[EnvReport]:
        """Wait for the step; return the reports, by environment."""
        return self._collect(range(len(self._pipes)))

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict | None], mask: np.ndarray | None = None
    ) -> list[EnvReport]:
        """Reset the environments (those in `mask`), each with its seed and options; return every `info`."""
        for worker, rows in enumerate(self.ranges):
            job = [(i, seeds[i], options[i]) for i in rows if mask is None or mask[i]]
            self._send(worker, self._pipes[worker], RESET + pickle.dumps(job))
        return self._collect(range(len(self._pipes)))

    def call(self, name: str, indices: Sequence[int], *args: object, **kwargs: object) -> list:
        """Call, or else read, the attribute `name` of the environments `indices`; return the results."""
        return self._on(indices, "call", name, args, kwargs)

    def set_attr(self, name: str, values: Sequence[object], indices: Sequence[int]) -> None:
        """Set the attribute `name` of each of `indices` to its value."""
        for index, value in zip(indices, values):
            self._on([index], "set", name, (value,), {})

    def has_wrapper(self, wrapper: type, indices: Sequence[int]) -> list[bool]:
        """Whether each of `indices` is wrapped in `wrapper`."""
        return self._on(indices, "wrapped", cloudpickle.dumps(wrapper), (), {})

    def _on(self, indices: Sequence[int], verb: str, name: object, args: tuple, kwargs: dict) -> list:
        asked = [w for w, rows in enumerate(self.ranges) if any(i in rows for i in indices)]
        for worker in asked:
            job = (verb, [i for i in indices if i in self.ranges[worker]], name, args, kwargs)
            self._send(worker, self._pipes[worker], CALL + cloudpickle.dumps(job))
        results = dict(self._collect(asked))
        return [results[i] for i in indices]

    def close(self, patience_s: float = 5.0) -> None:
        """End the workers: ask, wait `patience_s`, then kill."""
        if self.closed:
            return
        self.closed = True
        for pipe in self._pipes:
            try:
                pipe.send_bytes(CLOSE)
            except OSError:
                continue
        for process in self._processes:
            process.join(timeout=patience_s)
            if process.is_alive():
                process.kill()
                process.join()
        for pipe in self._pipes:
            pipe.close()

    def _send(self, worker: int, pipe: Connection, message: bytes) -> None:
        if self.closed:
            raise WorkerError("the vector environment is closed; make a new one")
        try:
            pipe.send_bytes(message)
        except OSError:
            self._report_death(worker)

    def _collect(self, workers: Sequence[int]) -> list:
        found: list = []
        failure = None
        for worker in workers:
            pipe = self._pipes[worker]
            try:
                self._await(worker)
                answer = pipe.recv_bytes()
            except (EOFError, OSError):
                self._report_death(worker)
            if answer[:1] == REPORTS:
                found += pickle.loads(answer[1:])
            elif answer[:1] == FAILED:
                failure = failure or (worker, answer[1:].decode())
        if failure:
            raise WorkerError(f"worker {failure[0]} (environments {self._named(failure[0])}) raised:\n{failure[1]}")
        return found

    def _await(self, worker: int) -> None:
        """Wait for an answer as long as the worker makes any headway: on a busy machine that may take long."""
        pid, poll = self._processes[worker].pid or 0, self._pollers[worker].poll
        if poll(1e3 * TIMEOUT):
            return
        used = None
        while (now := processor_seconds(pid)) is not None and now != used:
            used = now
            if poll(1e3 * TIMEOUT):
                return
        self.close(patience_s=0.0)
        raise WorkerError(
            f"worker {worker} (environments {self._named(worker)}) has not answered for {TIMEOUT:g} s and stands "
            "still; is an environment stuck, or the machine suspended?"
        )

    def _report_death(self, worker: int) -> None:
        process = self._processes[worker]
        process.join(timeout=2)
        code = process.exitcode
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}; was it killed for memory?"
        else:  # a script that makes environments wherever it is imported would make them in each worker, too
            how = f"exit code {code}; in a script, make the environments under `if __name__ == '__main__':`."
        where = self._named(worker)
        self.close()
        raise WorkerError(f"worker {worker} (environments {where}) died with {how} Its own output, above, may say more")

    def _named(self, worker: int) -> str:
        rows = self.ranges[worker]
        return f"{rows[0]}" if len(rows) == 1 else f"{rows[0]} to {rows[-1]}"


def _work(pipe: Connection, memory, layout: Layout, rows: range, job: bytes, same_step: bool) -> None:
    """Serve one pipe until it closes: the main function of a worker process."""
    end_with_pool()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C: its end closes the pipe
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _use_batch_scheduling()
    worker = None
    try:
        worker = _Worker(pickle.loads(job), layout.views(memoryview(memory).cast("B")), layout, rows, same_step)
        gc.collect()
        gc.freeze()  # what is imported and made by now stays: the collector need not look through it again
        gc.set_threshold(COLLECT_AFTER)
        pipe.send_bytes(PLAIN)
        while True:
            message = pipe.recv_bytes()
            command, load = message[:1], message[1:]
            if command == CLOSE:
                break
            try:
                answer = worker.serve(command, load)
            except Exception:
                answer = FAILED + traceback.format_exc().encode()
            pipe.send_bytes(answer)
    except (EOFError, OSError):
        pass  # the parent is gone
    except Exception:
        pipe.send_bytes(FAILED + traceback.format_exc().encode())
    finally:
        if worker is not None:
            worker.close()


def _use_batch_scheduling() -> None:
    """Schedule this worker as a batch process, which does not preempt its parent when it wakes up.

    The parent wakes one worker after the other. The first worker would otherwise take the parent's core before the
    next is woken, which then starts about a millisecond late: a fifth of a step.
    """
    if hasattr(os, "SCHED_BATCH"):  # Linux
        with contextlib.suppress(OSError):  # a sandbox may forbid it: slower, and nothing else
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


class _Worker:
    """The environments of one process."""

    def __init__(
        self, makers: list, arrays: dict[str, np.ndarray], layout: Layout, rows: range, same_step: bool
    ) -> None:
        self.envs: dict[int, gym.Env] = {i: make() for i, make in zip(rows, makers)}
        self._arrays = arrays
        self._observations = [(n.removeprefix("obs/"), a) for n, a in arrays.items() if n.startswith("obs/")]
        self._infos, self._groups = layout.infos, layout.groups
        self._same_step = same_step
        self._ended = dict.fromkeys(rows, False)

    def serve(self, command: bytes, load: bytes) -> bytes:
        if command == STEP:
            reports = self.step()
            return REPORTS + pickle.dumps(reports) if reports else PLAIN
        if command == RESET:
            return REPORTS + pickle.dumps([self.reset(*entry) for entry in pickle.loads(load)])
        verb, indices, name, args, kwargs = pickle.loads(load)
        return REPORTS + cloudpickle.dumps([(i, self.on(verb, self.envs[i], name, args, kwargs)) for i in indices])

    def reset(self, i: int, seed: int | None, options: dict | None) -> EnvReport:
        observation, info = self.envs[i].reset(seed=seed, options=options)
        self._ended[i] = False
        self._arrays["terminated"][i] = self._arrays["truncated"][i] = False
        self._put(i, observation)
        return EnvReport(i, None, None, info)

    def step(self) -> list[EnvReport]:
        reports = []
        a = self._arrays
        for i, env in self.envs.items():
            if self._ended[i]:  # next-step mode: this step only begins the next episode
                observation, info = env.reset()
                reward, terminated, truncated = 0.0, False, False
            else:
                observation, reward, terminated, truncated, info = env.step(a["action"][i].copy())  # type: ignore
            ended = terminated or truncated
            a["reward"][i], a["terminated"][i], a["truncated"][i] = reward, terminated, truncated
            plain = self._put_info(i, info)
            if ended and self._same_step:
                final_obs, final_info = observation, info
                observation, info = env.reset()
                reports.append(EnvReport(i, final_obs, final_info, info))
                plain = False
            elif not plain:
                reports.append(EnvReport(i, None, None, info))
            self._ended[i] = ended and not self._same_step
            a["plain"][i] = plain
            self._put(i, observation)
        return reports

    def _put(self, i: int, observation) -> None:
        for name, array in self._observations:
            array[i] = observation[name] if name != SINGLE else observation

    def _put_info(self, i: int, info: Mapping) -> bool:
        """Write the numbers of `info`; whether that is all there is."""
        row: list = [0.0] * len(self._infos)
        for path, names, places, kinds, size in self._groups:
            level: object = info
            for key in path:
                level = level.get(key)  # type: ignore[attr-defined]  # the outer dict has been looked at
            if not isinstance(level, Mapping) or len(level) != size:
                return False
            for name, place, kind in zip(names, places, kinds):
                value = level.get(name)
                if type(value) is not kind:
                    return False
                row[place] = value
        self._arrays["info"][i] = row
        return True

    @staticmethod
    def on(verb: str, env: gym.Env, name, args: tuple, kwargs: dict):
        if verb == "wrapped":
            wrapper, layer = pickle.loads(name), env
            while isinstance(layer, gym.Wrapper) and not isinstance(layer, wrapper):
                layer = layer.env
            return isinstance(layer, wrapper)
        if verb == "set":
            return env.set_wrapper_attr(name, args[0])
        attribute = env.get_wrapper_attr(name)
        return attribute(*args, **kwargs) if callable(attribute) else attribute

    def close(self) -> None:
        for env in self.envs.values():
            env.close()
