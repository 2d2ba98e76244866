"""Classes whose instances the program keeps to itself."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence

from flor.instrumentation.scopes import own_names

Parents = dict[ast.AST, ast.AST]
Method = ast.FunctionDef | ast.AsyncFunctionDef
SPECIAL_ONLY = {"len", "isinstance", "print", "repr", "str", "bool", "id"}
ISOLATED_DECORATORS = {"dataclass"}


def is_dunder(name: str) -> bool:
    """Say whether Python itself may call a method of this name."""
    return name.startswith("__") and name.endswith("__")


def contained_classes(nodes: Sequence[ast.AST], parents: Parents) -> set[ast.ClassDef]:
    """Return the classes whose methods only the user's own calls reach.

    That needs: no base class from elsewhere; every instance goes into a plain variable; and each
    use of that variable, or of ``self``, is ``variable.attribute``, or hands it to flor or to a
    function of the same file that uses it so too.
    """
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    uses = _Uses(nodes, parents)
    kept = {node for node in classes if uses.keeps(node, {each.name for each in classes})}
    while True:
        # A subclass hands the inherited methods on with its own instances.
        leaking = {base.id for node in classes if node not in kept for base in _names(node.bases)}
        fewer = {node for node in kept if node.name not in leaking}
        if fewer == kept:
            return kept
        kept = fewer


def _names(nodes: Iterable[ast.AST]) -> list[ast.Name]:
    return [node for node in nodes if isinstance(node, ast.Name)]


class _Uses:
    def __init__(self, nodes: Sequence[ast.AST], parents: Parents) -> None:
        self.parents = parents
        self.names: dict[str, list[ast.Name]] = {}
        self.hidden: set[str] = set()  # used in ways that are not followed
        self.functions = _plain_functions(nodes, parents)
        self.asked: set[tuple[Method, str]] = set()
        for node in nodes:
            if isinstance(node, ast.Name):
                self.names.setdefault(node.id, []).append(node)
            elif isinstance(node, ast.Attribute):
                self.hidden.add(node.attr)
            elif isinstance(node, ast.alias) and node.asname:
                self.hidden.add(node.name)

    def keeps(self, node: ast.ClassDef, classes: set[str]) -> bool:
        own = classes | {"object"}
        bases = all(isinstance(base, ast.Name) and base.id in own for base in node.bases)
        decorated = all(_plain(each) for each in node.decorator_list)
        if not bases or not decorated or node.keywords or node.name in self.hidden:
            return False
        if not all(self.kept_instance(each) for each in self.names.get(node.name, [])):
            return False
        methods = [each for each in node.body if isinstance(each, Method)]
        return all(self.kept_self(method) for method in methods)

    def kept_instance(self, name: ast.Name) -> bool:
        """Say whether a mention of the class leads to no instance out of sight."""
        above = self.parents[name]
        if isinstance(above, ast.ClassDef) or self.receiver(name):
            return True
        if not isinstance(above, ast.Call) or above.func is not name:
            return False
        holder = self.parents[above]
        if isinstance(holder, ast.Attribute | ast.Expr):
            return True
        if not isinstance(holder, ast.Assign):
            return False
        targets = [each.id for each in _names(holder.targets)]
        return len(targets) == len(holder.targets) and all(map(self.kept_variable, targets))

    def kept_variable(self, variable: str) -> bool:
        return all(self.receiver(name) for name in self.names.get(variable, []))

    def kept_self(self, method: Method) -> bool:
        arguments = [*method.args.posonlyargs, *method.args.args]
        if not arguments:
            return method.args.vararg is None
        return self.kept_argument(method, arguments[0].arg)

    def kept_argument(self, function: Method, argument: str) -> bool:
        """Say whether a function only reaches into what it is given as an argument."""
        key = (function, argument)
        if key in self.asked:  # functions that call each other: one that says no decides for all
            return True
        self.asked.add(key)
        try:
            inside = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            return all(self.receiver(each) for each in inside if each.id == argument)
        finally:
            self.asked.remove(key)

    def handed_on(self, name: ast.Name, call: ast.Call) -> bool:
        """Say whether a call hands an instance to a function of its file that keeps it too."""
        function = self.functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if function is None or self.file_of(function) is not self.file_of(call):
            return False
        plain = [*function.args.posonlyargs, *function.args.args]
        named = [*function.args.args, *function.args.kwonlyargs]
        taken = [each.arg for given, each in zip(call.args, plain, strict=False) if given is name]
        keywords = {each.arg for each in call.keywords if each.value is name}
        taken += [each.arg for each in named if each.arg in keywords]
        starred = any(isinstance(each, ast.Starred) for each in call.args)
        return bool(taken) and not starred and all(self.kept_argument(function, a) for a in taken)

    def file_of(self, node: ast.AST) -> ast.AST:
        while (above := self.parents.get(node)) is not None:
            node = above
        return node

    def receiver(self, name: ast.Name) -> bool:
        """Say whether a mention of an instance only reaches into it."""
        above = self.parents[name]
        if isinstance(above, ast.keyword):
            above = self.parents[above]
        if isinstance(above, ast.Call):
            return _is_discreet(above.func) or self.handed_on(name, above)
        return isinstance(name.ctx, ast.Store) or isinstance(above, ast.Attribute)


def _plain_functions(nodes: Sequence[ast.AST], parents: Parents) -> dict[str, Method]:
    """Return the functions of modules whose name means nothing else in the whole program."""
    found: dict[str, Method] = {}
    bound = Counter(name for node in nodes for name, binds in own_names(node) if binds)
    for node in nodes:  # setattr(module, "name", ...), module.name = ...
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            bound[node.value] += 1
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            bound[node.attr] += 1
    functions = (node for node in nodes if isinstance(node, Method) and not node.decorator_list)
    for node in functions:
        if isinstance(parents[node], ast.Module) and bound[node.name] == 1:
            found[node.name] = node
    return found


def _plain(decorator: ast.expr) -> bool:
    node = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(node, ast.Name) and node.id in ISOLATED_DECORATORS


def _is_discreet(function: ast.expr) -> bool:
    """Say whether a function calls nothing but special methods of what it is given."""
    if isinstance(function, ast.Name):
        return function.id in SPECIAL_ONLY
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "flor"
    )
