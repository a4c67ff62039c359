"""A small terminal: as much of ANSI as a full-screen program on a serial line needs.

Absolute cursor movement, erasing the screen, carriage return and line feed; attributes and modes
are read and forgotten. Fed bytes as they come, cut anywhere.
"""
import re

ROWS, COLUMNS = 25, 80
SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([@-~])")
SEQUENCE_MOST = 32


class Screen:
    def __init__(self):
        self.clear()
        self.row = self.column = 0
        self.unread = ""		# the beginning of a sequence
        self.visits = [0] * ROWS	# how often the cursor was sent to the row

    def clear(self) -> None:
        self.cells = [[" "] * COLUMNS for _ in range(ROWS)]

    def feed(self, found: bytes) -> None:
        text = self.unread + found.decode("latin-1")
        self.unread = ""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                sequence = SEQUENCE.match(text, at)
                if sequence:
                    self.obey(sequence.group(1), sequence.group(2))
                    at = sequence.end()
                    continue
                if len(text) - at < SEQUENCE_MOST:
                    self.unread = text[at:]
                    return
            self.put(text[at])
            at += 1

    def obey(self, numbers: str, command: str) -> None:
        values = [int(number) for number in re.findall("[0-9]+", numbers)]
        if command in "Hf":
            row, column = (values + [1, 1])[:2] if values else (1, 1)
            self.row = min(max(row, 1), ROWS) - 1
            self.column = min(max(column, 1), COLUMNS) - 1
            self.visits[self.row] += 1
        elif command == "J" and values == [2]:
            self.clear()

    def put(self, letter: str) -> None:
        if letter == "\r":
            self.column = 0
        elif letter == "\n":
            self.row = min(self.row + 1, ROWS - 1)
        elif letter >= " " and self.column < COLUMNS:
            self.cells[self.row][self.column] = letter
            self.column += 1

    def line(self, row: int) -> str:
        """Counted from 0, without the blanks at its end."""
        return "".join(self.cells[row]).rstrip()

    def text(self) -> str:
        return "\n".join(self.line(row) for row in range(ROWS))
