"""LOOK: what a network is made of, and the same function in other forms.

``convert.py`` turns fully connected layers and convolutions into each other, ``fold.py`` folds
batch normalisation into the layers around it, ``align.py`` finds which unit of one network is which
of another, and ``chains.py`` cuts and joins graphs for them. NumPy alone, no framework: networks
and params go in, networks and params come out. Moving to another framework is ``port``'s work.
"""
