"""A serial port with deadlines, of which one process at a time is the owner.

The vendor's Python packages (feetech-servo-sdk, ftservo-python-sdk) are not used: they wait at least 50 ms for a reply,
two and a half periods of the bus, spinning and by the wall clock; accept a reply of any length from the right id, so
that a late one passes for another register's; and stay `busy` for ever after an exception. Robot side: the standard
library only.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios
import time
import tty

BAUD = termios.B1000000
"""Factory setting of the servos, and LeRobot's."""
SPEED = 4
"""Index of the input speed in termios' list of attributes; the output speed is the next."""
LARGEST_READ = 4096


class PortError(OSError):
    """The port cannot be opened, belongs to another process, or is gone."""

    def __str__(self) -> str:
        return str(self.strerror)


class SerialPort:
    """An open serial port: 1 Mbaud, eight bits, no parity."""

    def __init__(self, path: str):
        """Open `path`.

        Raises:
            PortError: if that fails, or another process has it open.
        """
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise PortError(
                error.errno,
                f"serial port '{path}' cannot be opened: {error.strerror}; is the arm plugged in (ls "
                "/dev/serial/by-id), and are you in the group dialout?",
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            tty.setraw(self._file)
            settings = termios.tcgetattr(self._file)
            settings[SPEED] = settings[SPEED + 1] = BAUD
            termios.tcsetattr(self._file, termios.TCSANOW, settings)
        except (OSError, termios.error) as error:
            os.close(self._file)
            held = isinstance(error, BlockingIOError)
            reason = "another process has it open; end that one first" if held else f"it is no serial port: {error}"
            raise PortError(getattr(error, "errno", None), f"serial port '{path}': {reason}") from None

    def close(self) -> None:
        """Release the port."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def discard(self) -> None:
        """Throw away what has arrived.

        Raises:
            PortError: if the port is gone.
        """
        try:
            termios.tcflush(self._file, termios.TCIFLUSH)
        except (OSError, termios.error) as error:
            raise self._gone(error) from None

    def write(self, data: bytes, deadline: float) -> None:
        """Send all of `data`, at the latest until `deadline` [s, monotonic].

        Raises:
            PortError: if the port is gone, or does not take the data in time.
        """
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                if not self._wait(False, deadline):
                    raise PortError(None, f"serial port '{self.path}' takes no more data") from None
            except OSError as error:
                raise self._gone(error) from None

    def read(self, size: int, deadline: float) -> bytes:
        """Return what arrives until `deadline` [s, monotonic], at the latest when there are `size` bytes.

        Raises:
            PortError: if the port is gone.
        """
        received = b""
        while len(received) < size and self._wait(True, deadline):
            try:
                found = os.read(self._file, LARGEST_READ)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone(error) from None
            if not found:
                raise self._gone(None)
            received += found
        return received

    def _wait(self, to_read: bool, deadline: float) -> bool:
        files = [self._file]
        left = max(0.0, deadline - time.monotonic())
        try:
            return any(select.select(files if to_read else [], [] if to_read else files, [], left))
        except (OSError, ValueError) as error:
            raise self._gone(error) from None

    def _gone(self, error: Exception | None) -> PortError:
        reason = f" ({error})" if error else ""
        return PortError(
            getattr(error, "errno", None), f"serial port '{self.path}' is gone{reason}; is the cable plugged in?"
        )
