"""Models, peers and measurements: what camshaft is tried on and compared with.

    packages, photos     files from the package index, pictures and how models want them
    zoo                  every model by name (torch_models, small_models, quantized make them)
    peers                other runtimes behind one face
    harness, report      interleaved timing, JSON and Markdown
    run                  the command line (`make bench`)

Nothing in `src/camshaft` imports from here.
"""
