"""Fifty pipelines over made-up homes and their sales: what benchmarks of pipelines run.

In the style of the public competitions in which home values are predicted: a wide table of
properties, most columns with missing values, a table of sales to join, ten people's pipelines with
five settings each. Everything is a function of ``data.SEED``; it was committed before anything was
measured with it and is not changed afterwards.
"""
