"""What runs inside the user's training program: it steps at the rates that the parent names, and tells the losses.

The program's Python loads these files by path, under a private name (site/sitecustomize.py). lrscout need not be
installed there, so they import each other relatively, and otherwise only the standard library and torch. They must run
on Python 3.9 and torch 2.4.
"""
