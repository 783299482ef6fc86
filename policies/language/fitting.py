"""Fits the heads to sentences. Needs torch, which the robot does not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from policies.language.commands import PARTS, WrittenCommand, abilities_of, read_commands
from policies.language.heads_file import HeadsFacts
from policies.language.scoring import safe_threshold
from policies.language.sentences import make_sentence
from policies.language.slots import COLOUR_SLOTS, SLOTS, WORD_SLOTS, Labels, SlotReader
from policies.language.text_encoder import Encoded, TextEncoder
from robots.specs import SpecError

HIDDEN, CONTEXT = 64, 40
"""Numbers a token, by itself and from each side of it."""
DROPPED = 0.35
"""Share of numbers that are left out in training."""
OFTEN = 4
"""How often a written sentence is shown for each time that a made one is."""
BLOCK = 500
"""Sentences that are encoded at once."""
TEMPERATURES = np.geomspace(1.0, 4.0, 25)
"""Among which one is chosen: where all is read rightly, no more certain than the members' mean is."""


@dataclass(frozen=True)
class Example:
    """A sentence with its slots."""

    encoded: Encoded
    labels: Labels


class Heads(nn.Module):
    """See `policies.language.slots.SlotReader`, which computes the same with numpy."""

    def __init__(self, width: int):
        """Start for token states of `width` numbers."""
        super().__init__()
        self.narrow = nn.Linear(width, HIDDEN)
        self.context = nn.GRU(HIDDEN, CONTEXT, bidirectional=True, batch_first=True)
        self.attention = nn.Linear(2 * CONTEXT, len(SLOTS))
        self.absent = nn.Parameter(torch.zeros(len(COLOUR_SLOTS)))
        self.colour = nn.Linear(HIDDEN, len(SLOTS["colour"]) - 1)
        self.word = nn.ModuleDict({name: nn.Linear(HIDDEN + 2 * CONTEXT, len(SLOTS[name])) for name in WORD_SLOTS})
        self.drop = nn.Dropout(DROPPED)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logarithms of each slot's probabilities (B, C) for padded token states (B, T, D)."""
        z = torch.relu(self.narrow(self.drop(states)))
        packed = pack_padded_sequence(self.drop(z), lengths, batch_first=True, enforce_sorted=False)
        g = pad_packed_sequence(self.context(packed)[0], batch_first=True)[0]
        scores = self.attention(self.drop(g))
        padding = torch.arange(states.shape[1])[None] >= lengths[:, None]
        scores = scores.masked_fill(padding[..., None], -1e9)
        found = {}
        both = torch.cat([z, g], dim=2)
        shades = torch.log_softmax(self.colour(z), dim=2)
        for k, name in enumerate(SLOTS):
            if name in COLOUR_SLOTS:
                absent = self.absent[COLOUR_SLOTS.index(name)].expand(len(states), 1)
                share = torch.log_softmax(torch.cat([absent, scores[..., k]], dim=1), dim=1)
                colours = torch.logsumexp(share[:, 1:, None] + shades, dim=1)
                found[name] = torch.cat([share[:, :1], colours], dim=1)
            else:
                mixed = torch.einsum("bt,btd->bd", torch.softmax(scores[..., k], dim=1), both)
                found[name] = torch.log_softmax(self.word[name](self.drop(mixed)), dim=1)
        return found


def fit_heads(
    examples: Sequence[Example],
    seed: int,
    epochs: int = 8,
    batch: int = 64,
    report: Callable[[float], None] = lambda _: None,
) -> dict[str, np.ndarray]:
    """Fit one set of heads; return its weights by name.

    Args:
        examples: sentences; a slot without a label is not trained.
        seed: of start, order and what is left out.
        epochs: how often each is shown.
        batch: sentences a step.
        report: called with the share that is done.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    heads = Heads(examples[0].encoded.states.shape[1])
    steps = epochs * -(-len(examples) // batch)
    optimiser = torch.optim.AdamW(heads.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps, pct_start=0.2)
    done = 0
    for _ in range(epochs):
        order = torch.randperm(len(examples), generator=generator).tolist()
        for begin in range(0, len(order), batch):
            chosen = [examples[k] for k in order[begin : begin + batch]]
            lengths = torch.tensor([len(each.encoded.states) for each in chosen])
            states = torch.zeros(len(chosen), int(lengths.max()), examples[0].encoded.states.shape[1])
            for row, each in enumerate(chosen):
                states[row, : len(each.encoded.states)] = torch.from_numpy(each.encoded.states.astype(np.float32))
            found, loss = heads(states, lengths), torch.zeros(())
            for name, classes in SLOTS.items():
                known = [row for row, each in enumerate(chosen) if name in each.labels]
                truth = torch.tensor([classes.index(chosen[row].labels[name]) for row in known], dtype=torch.long)
                if known:
                    loss = loss - found[name][known, truth].sum() / len(chosen)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
            report(done / steps)
    return {name: value.detach().numpy() for name, value in heads.state_dict().items()}


def fit_command_reader(
    commands: Path, encoder: TextEncoder, made: int, members: int, seed: int, report: Callable[[float], None]
) -> tuple[tuple[dict[str, np.ndarray], ...], HeadsFacts]:
    """Fit an ensemble to made sentences and the training part of `commands`, and calibrate it on the calibration part.

    Args:
        commands: a file of commands; its test part is not read.
        encoder: whose token states the heads read.
        made: sentences that are made from patterns.
        members: sets of heads.
        seed: of all that is random.
        report: called with the share that is done.

    Raises:
        FileError: for a file that is none.
        SpecError: for one without commands of either part.
    """
    written = read_commands(commands)
    parts = {part: tuple(each for each in written if each.part == part) for part in PARTS}
    if not parts["training"] or not parts["calibration"]:
        raise SpecError(f"commands '{commands}': expected some of part training, and some of part calibration")
    rng = np.random.default_rng(seed)
    sentences = [make_sentence(rng) for _ in range(made)]
    examples = []
    for begin in range(0, made, BLOCK):
        block = sentences[begin : begin + BLOCK]
        encoded = encoder.encode_all([text for text, _ in block])
        examples += [Example(each.halved(), labels) for each, (_, labels) in zip(encoded, block)]
        report(0.5 * begin / made)
    own = [
        Example(encoded, each.labels)
        for each, encoded in zip(parts["training"], encoder.encode_all([each.text for each in parts["training"]]))
    ]
    examples += own * OFTEN
    fitted = []
    for k in range(members):

        def show(done: float, k: int = k) -> None:
            report(0.5 + 0.5 * (k + done) / members)

        fitted.append(fit_heads(examples, seed + k, report=show))
    rounded = tuple({name: value.astype(np.float16) for name, value in each.items()} for each in fitted)
    temperature, threshold = fit_calibration(rounded, parts["calibration"], encoder)
    return rounded, HeadsFacts(
        encoder=encoder.hash,
        commands=hashlib.sha256(commands.read_bytes()).hexdigest(),
        made=made,
        sentences=hashlib.sha256("\n".join(text for text, _ in sentences).encode()).hexdigest(),
        seed=seed,
        slots=dict(SLOTS),
        temperature=temperature,
        threshold=threshold,
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


def fit_calibration(
    members: tuple[Mapping[str, np.ndarray], ...], commands: tuple[WrittenCommand, ...], encoder: TextEncoder
) -> tuple[float, float]:
    """Return the temperature under which the slots are likeliest, and a threshold that accepts nothing wrong."""
    reader = SlotReader(members)
    readings = [reader.read(each) for each in encoder.encode_all([each.text for each in commands])]

    def surprise(temperature: float) -> float:
        shares = [reading.tempered(temperature).shares for reading in readings]
        known = [(share[n], SLOTS[n].index(v)) for share, each in zip(shares, commands) for n, v in each.labels.items()]
        return -float(np.mean([np.log(share[k]) for share, k in known]))

    temperature = float(min(TEMPERATURES, key=surprise))
    tempered = [reading.tempered(temperature) for reading in readings]
    return temperature, safe_threshold(commands, tempered, abilities_of(commands))
