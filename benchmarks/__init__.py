"""Models, peers and measurements: what camshaft is tried on and compared with.

    packages, photos       files from the package index, pictures and how models want them
    zoo                    every model by name (torch_models, small_models, transformers, quantized
                           make them)
    transformers, shipped  transformers of the zoo; models as packages ship them
    engines, job           camshaft and the peers, ready to be timed
    measure, run, report   one measurement, all of them (`make bench`), JSON and Markdown

Nothing in `src/camshaft` imports from here.
"""
