"""Command-line flags made from the UPPERCASE constants at the top of a module: BATCH_SIZE = 64 is --batch-size 64.

The type is that of the value, and the help text is the comment on the line. A comment that begins with quoted words
("'auto', 'float32' or 'mixed': ...") lists the only values allowed; an interval in it ("in [0, 1)") is the range of a real
number, and "from 1 to 1000" that of a whole one. True and False make --flag and --no-flag; a tuple takes several values. A
whole number without a range ends at MOST; it may be 0 where the comment says what that does, in SEED, and in the constants
named ..._EVERY, where it means never. A constant that is edited in the file is held to the rules of its flag.
"""
import argparse
import ast
import functools
import math
import pathlib
import re
import tokenize

from plumbing import files

INTERVAL = re.compile(r'in ([\[(])([\d.]+), ([\d.]+|inf)([\])])')
RANGE = re.compile(r'\bfrom (\d+) to (\d+)')
MOST = 2**31 - 1  # what a seed of the graph has room for, and the 32 bits of many shapes in TensorFlow


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, with exit status 2, or in a files.UserError if `raising`."""

    def __init__(self, description, raising=False, **options):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                         allow_abbrev=False, **options)
        self._raising = raising

    def error(self, message):
        told = files.one_line(f'{message}; --help lists the flags')
        if self._raising:
            raise files.UserError(told)
        self.exit(2, f'error: {told}\n')


def whole(name, least=0, most=MOST):
    """The type, as argparse takes it, of a whole number from `least` to `most`."""
    def convert(text):
        if not re.fullmatch(r'\d+(_\d+)*', text) or len(text) > 1000 or not least <= int(text) <= most:
            typed = files.shortened(repr(text))
            raise argparse.ArgumentTypeError(f'{name} is a whole number from {least} to {most}, not {typed}')
        return int(text)

    return convert


def real(name):
    """The type, as argparse takes it, of a finite number."""
    def convert(text):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise argparse.ArgumentTypeError(f'{name} is a number, not {files.shortened(repr(text))}')
        return number

    return convert


def path(text):
    """The type, as argparse takes it, of a path: a `~` that the shell has left alone, as in `--png=~/x.png`, is a home folder."""
    return pathlib.Path(files.expanded(text))


def run_folder(path):
    """The path of a run's folder. Raises UserError where there is no such folder."""
    if not path.is_dir():
        raise files.UserError(f'{path} is a file, not the folder of a run' if path.exists() else
                              f'there is no folder {path}: name that of a run, such as runs/dcgan-mnist')
    return path


def script(path):
    """The path of a script: this one, or that of this name in the project. Raises UserError where there is none."""
    found = path if path.exists() else pathlib.Path(__file__).parents[1] / path.name
    if not found.is_file():
        raise files.UserError(f'there is no script {path}: give one of this project, such as dcgan.py')
    return found


def constants(module):
    """{name: value} of the UPPERCASE names of a module's namespace (a dict) that hold a number, a text or a tuple."""
    return {name: value for name, value in module.items() if name.isupper() and isinstance(value, int | float | str | tuple)}


def parse(modules, arguments=None, raising=False):
    """Sets the constants of `modules` (their namespaces; the first one is the script) from the command line.

    A constant that two modules have is one flag, with the script's value and comment and the other's choices; it sets both.
    Returns the names of those that were given.
    Exit status 2 and a line that says why, or files.UserError if `raising`, for a flag that is unknown, and for a value, given
    or edited into the file, that is not of the constant's type or out of its range.
    """
    parser = Parser(modules[0]['__doc__'], raising, prog=pathlib.Path(modules[0]['__file__']).name,
                    usage='%(prog)s [--FLAG VALUE] ...')
    known, comments = {}, [_comments(module['__file__']) for module in modules]
    for number, module in enumerate(modules):
        group = parser.add_argument_group('the constants of this script' if number == 0 else 'of every script')
        for name in [name for name in comments[number] if name not in known]:
            known[name] = module[name]
            if module[name] == ():
                parser.error(f'{name} is empty, but takes one value at least')
            rules = [listed[name] for listed in comments if name in listed]
            _add(group, name, module[name], rules[0], next(filter(None, map(_choices, rules)), None))
    given = vars(parser.parse_args(arguments))
    edited = [word for name, value in known.items() if name not in given for word in _as_flag(name, value)]
    for name, value in {**known, **vars(parser.parse_args(edited)), **given}.items():
        for module in modules:
            if name in module:
                module[name] = value
    return set(given)


def alternatives(modules, arguments):
    """{constant: [the arguments that set it to a value, ...]} of a command line that gives flags several values each.

    The numbers of a tuple are joined by commas. No value is checked. Exit status 2 and one line for a flag that is unknown.
    """
    parser = Parser(None, prog=pathlib.Path(modules[0]['__file__']).name, add_help=False)
    known = {name: value for module in reversed(modules) for name, value in constants(module).items()}
    for name, value in known.items():
        flag, options = _flag(name), {'dest': name, 'default': argparse.SUPPRESS}
        if isinstance(value, bool):
            for word in flag, flag.replace('--', '--no-', 1):
                parser.add_argument(word, action='append_const', const=[word], **options)
        else:
            parser.add_argument(flag, action='extend', nargs='+', type=(lambda text, flag=flag: [flag, *text.split(',')])
                                if isinstance(value, tuple) else (lambda text, flag=flag: [f'{flag}={text}']), **options)
    return vars(parser.parse_args(arguments))


def _as_flag(name, value):
    """What somebody would type to set a constant to its value, as a list of arguments."""
    if isinstance(value, bool):
        return []
    return [_flag(name), *map(str, value)] if isinstance(value, tuple) else [f'{_flag(name)}={value}']


def _flag(name):
    return '--' + name.lower().replace('_', '-')


def _add(group, name, value, comment, choices):
    flag = _flag(name)
    text = comment.replace('%', '%%') + f' [{value}]'
    if isinstance(value, bool):
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, action=argparse.BooleanOptionalAction, help=text)
        return
    several, interval = isinstance(value, tuple), INTERVAL.search(comment)
    kind = float if interval else type(value[0] if several else value)
    convert = {int: whole(name, *_range(name, comment)), float: functools.partial(_real, name, interval), str: str}[kind]
    group.add_argument(flag, dest=name, default=argparse.SUPPRESS, type=convert, help=text,
                       action=_Tuple if several else 'store', nargs='+' if several else None,
                       metavar={int: 'N', float: 'X', str: 'TEXT'}[kind], choices=choices)


def _choices(comment):
    listed = re.match(r"'[^']*'((, | or )'[^']*')+", comment)
    return listed and re.findall("'([^']*)'", listed[0])


class _Tuple(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, tuple(values))


def _range(name, comment):
    """(least, most) of a whole number."""
    if stated := RANGE.search(comment):
        return int(stated[1]), int(stated[2])
    zero = name == 'SEED' or name.endswith('_EVERY') or re.search(r'(?<![\d.])0(?![\d.])', comment)
    return 0 if zero else 1, MOST


def _real(name, interval, text):
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if interval:
        opens, low, high, closes = interval.groups()
        inside = float(low) <= number <= float(high) and (opens == '[' or number > float(low)) \
            and (closes == ']' or number < float(high))
        if not inside:
            raise argparse.ArgumentTypeError(f'{name} must be {interval[0]}, not {text!r}')
    elif not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 up')
    return number


def written(path):
    """The constants that a source file has at its top level, without importing it: a namespace, as `parse` takes it."""
    with tokenize.open(path) as file:
        tree = ast.parse(file.read())
    return {'__file__': str(path), '__doc__': ast.get_docstring(tree, clean=False),
            **{node.targets[0].id: ast.literal_eval(node.value) for node in _assignments(tree)}}


def _assignments(tree):
    """The statements `NAME = literal` of a module, of UPPERCASE names."""
    return [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id.isupper() and isinstance(node.value, ast.Constant | ast.Tuple | ast.UnaryOp)
            and all(isinstance(part, ast.Constant | ast.Tuple | ast.UnaryOp | ast.USub | ast.UAdd | ast.Load)
                    for part in ast.walk(node.value))]


def _comments(path):
    """{name: comment} of the top-level lines `NAME = literal  # comment` of a source file."""
    with tokenize.open(path) as file:
        source = file.read()
    at_line = {token.start[0]: token.string.lstrip('# ')
               for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__)
               if token.type == tokenize.COMMENT}
    return {node.targets[0].id: at_line.get(node.lineno, '') for node in _assignments(ast.parse(source))}
