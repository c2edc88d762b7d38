"""Fault injection: kill it, cut its power, fill its disk, damage and poison its files, and see what kd does.

    scripts/faults                    the short set: every row, at most 90 seconds
    scripts/faults --long             the long set: minutes a row
    scripts/faults --long R1 R7       some rows of it

A row injects faults and counts how many kd survived (as its row of the table says), and how many passed in silence.
Most command lines run in processes that are forked from this one, which has imported everything: they are real
processes with real signals and files, without the seconds of a start. Some are started from nothing, as users do.
"""
