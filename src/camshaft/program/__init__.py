"""What an engine executes: buffers, views of them, and instructions that work on views.

A `Program` stands between the build, which makes one, and the runtime, which resolves it to
addresses.  What a step *is* (its layers, its tactic, why it was chosen) is no part of it: a `Note`
says that, and nothing that executes reads a note.
"""
