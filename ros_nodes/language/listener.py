"""Listens in a thread of its own: what is said becomes text, and waits for whoever asks."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from policies.language.abilities import Abilities
from policies.language.speech import Heard, SpeechRecogniser
from policies.language.utterances import Utterances
from robots.specs import SpecError
from ros_nodes.language.microphone import Microphone


class Listener:
    """Recognises one utterance after another."""

    def __init__(self, source: str, abilities: Abilities, model: Path | None = None):
        """Load the speech model, open the microphone, and listen.

        Args:
            source: an audio file, or an ALSA device.
            abilities: what may be asked for.
            model: folder of the speech model; None for the installed wheel's.

        Raises:
            SpecError: if model or microphone cannot be opened.
        """
        self._recogniser = SpeechRecogniser.load(abilities, model)
        self._microphone = Microphone(source)
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.failure = ""
        """Why it listens no more; empty while it does."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        utterances = Utterances()
        try:
            for block in self._microphone.blocks():
                for samples in utterances.feed(block):
                    self._heard.put(self._recogniser.recognise(samples))
            for samples in utterances.end():
                self._heard.put(self._recogniser.recognise(samples))
        except SpecError as error:
            self.failure = str(error)

    def poll(self) -> Heard | None:
        """Return what was said next; None if nothing was."""
        try:
            return self._heard.get_nowait()
        except queue.Empty:
            return None
