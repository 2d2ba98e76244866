"""What a training state is: the object graph, its tensors and random states, captured and put back
in place.
"""
