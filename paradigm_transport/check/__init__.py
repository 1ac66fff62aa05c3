"""The command `paradigm-check`: asks a server what it can do, and recommends arguments for both frameworks.

A question is a function of a `Server` that returns a `Finding`; `questions/` holds them by subject. `runner` asks them,
`advice` makes constructor arguments of the findings, `report` writes both, `cli` is the command.
"""
