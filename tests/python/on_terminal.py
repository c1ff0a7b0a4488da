"""Runs a program on a terminal of 200 columns and prints what the screen shows at the end, as a person would see it.

    on_terminal.py PROGRAM ARGUMENT…

Colours stay as `<1;31>`. A byte that steers the terminal in a way that this screen does not know is a failure. The last
line says `exit: CODE`, the one before it how often a line was drawn over another (`drawn over: yes` for bars that move).
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios

ROWS, COLUMNS = 60, 200
CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\x1b\[|\x1b|[\x00-\x09\x0b-\x1f\x7f-\x9f]|\n")


class Screen:
    def __init__(self):
        self.lines, self.row, self.column, self.overdrawn = [[]], 0, 0, False
        self.colours = ""

    def put(self, text):
        line = self.lines[self.row]
        line.extend([" "] * (self.column - len(line)))
        for char in text:
            char, self.colours = self.colours + char, ""
            # A line that is full goes on below.
            if self.column == COLUMNS:
                self.feed()
                self.column = 0
                line = self.lines[self.row]
            if self.column < len(line):
                line[self.column] = char
            else:
                line.append(char)
            self.column += 1

    def colour(self, code):
        line = self.lines[self.row]
        if code == "0" and 0 < self.column <= len(line):
            line[self.column - 1] += "<0>"
        else:
            # Of no width: it belongs to the cell that comes next.
            self.colours += f"<{code}>"

    def feed(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def steer(self, numbers, letter):
        number = int(numbers) if numbers.isdigit() else 1
        if letter == "m":
            self.colour(numbers or "0")
        elif letter == "A":
            self.row, self.overdrawn = max(0, self.row - number), True
        elif letter == "B":
            for _ in range(number):
                self.feed()
        elif letter == "K":
            self.overdrawn = True
            start = 0 if numbers == "2" else self.column
            del self.lines[self.row][start:]
        elif letter == "G":
            self.column = number - 1
        elif letter in "hl" and numbers == "?25":
            pass  # The cursor is hidden or shown.
        else:
            sys.exit(f"unknown to this screen: ESC [ {numbers} {letter}")

    def feed_all(self, text):
        at = 0
        for found in CONTROL.finditer(text):
            self.put(text[at : found.start()])
            at = found.end()
            if found.group(2):
                self.steer(found.group(1), found.group(2))
            elif found.group() == "\n":
                self.feed()
            elif found.group() == "\r":
                self.column = 0
            else:
                sys.exit(f"unknown to this screen: {found.group()!r}")
        self.put(text[at:])


def main():
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    said = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        said += chunk
    _, status = os.waitpid(child, 0)
    screen = Screen()
    screen.feed_all(said.decode())
    lines = ["".join(line).rstrip() for line in screen.lines]
    while lines and not lines[-1]:
        lines.pop()
    print("\n".join(lines))
    print("drawn over:", "yes" if screen.overdrawn else "no")
    print("exit:", os.waitstatus_to_exitcode(status))


main()
