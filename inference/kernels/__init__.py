"""Compiled kernels for x86-64 processors: sources in C, built once on the machine they run on.

``build`` compiles and loads them, ``library`` declares them to Python. Where they cannot be built, or the
processor lacks AVX2, the engine computes with torch instead: slower, and with the same results within the
precision of the format.
"""
