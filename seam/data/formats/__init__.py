"""Image data sets: raw formats in, one prepared file out.

`prepared.py` holds what every later stage reads; one small file per raw format makes it.
"""
