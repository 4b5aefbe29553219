"""Reducing a model that fails to the smallest that still fails, as `camshaft reduce` does.

A model without some of its nodes is a model still: what the others read of them becomes an input that holds what one
run of the whole model recorded there.  So nodes are taken away by bisection and delta debugging while a check still
fails; then outputs, optional inputs and sizes.

    source    the whole model, its recorded run, and the model of any subset of its nodes
    search    the smallest part of a list that still fails: bisection, delta debugging
    reduce    the stages, one after the other
    simplify  smaller sizes, fewer optional inputs and weights without data
    bodies    a branch or one round of a loop in place of the node that holds it
    check     whether a model fails: a command, its time limit, and which of its ends count
"""
