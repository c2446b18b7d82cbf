"""Torture: broken and hostile files given to every reader, thousands of them, each in a process of its own.

    target ── seed file ── mutator(bytes, random) ── mutant ── forked process with limits ── outcome ── table

A mutant must be read, or refused in one line with exit code 2. All else is a fault: a traceback, a crash, a hang of
over 30 s, too much memory, a request to the network, a program started, a file written elsewhere, a class unpickled.

A new reader is added by one line in `targets.py`, a new way to break files by one function in `mutators.py`.
"""
