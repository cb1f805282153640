"""The command ``samparser``: a file to a command, each of which imports what it needs when it runs.

Exit codes: 0 done; 1 begun, but not done, or not all of it; 2 refused for what was typed or
given; 130 interrupted.
"""
