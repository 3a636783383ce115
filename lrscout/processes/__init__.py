"""Work in other processes: how they are started, asked and ended, what they answer, and how they die.

Nothing on the parent's side imports torch or the user's code.
"""
