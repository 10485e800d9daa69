"""From labelled data of several tasks to a model repository: train, evaluate, compress, export.

Imports go one way: ``cli`` > ``evaluate``, ``compress``, ``export`` > ``loop`` > ``objectives``, ``models`` >
``data``. Nothing here knows the gateway or the workers: what they serve is handed over as files.
"""
