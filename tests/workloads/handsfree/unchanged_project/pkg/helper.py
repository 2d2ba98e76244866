import inspect


def names():
    found = []
    for each in inspect.stack():
        found.append(each.function)
    return found
