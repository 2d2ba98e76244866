"""Intermediates: what a model or a pipeline computed on the way, kept or computed again.

After M. Vartak et al., "MISTIQUE: A System to Store and Query Model Intermediates for Model
Diagnosis" (SIGMOD 2018). The public function is ``flor.intermediates``, hence the singular here.
"""
