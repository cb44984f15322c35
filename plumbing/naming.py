"""The names of runs' folders, which tell what is not as in the script's file."""
import hashlib
import json
import pathlib
import re

from plumbing import files, flags

FREE = 'STEPS', 'EPOCHS', 'RUN_DIR', 'DATA_DIR', 'FRESH'  # constants that may change when a run is resumed


def changed(modules):
    """{constant: its value} where it is not as in its file. modules: namespaces, the script first."""
    found, seen = {}, set()
    for module in modules:
        written = flags.constants(flags.written(module['__file__']))
        found |= {name: module[name] for name in written if name not in seen and module[name] != written[name]}
        seen |= set(written)
    return found


def folder(script, dataset, changed):
    """'dcgan-mnist-seed-1' of the path of the script, the name or path of its data set, and what was changed, {constant: value}.

    The constants that a resumed run may change do not count. Where the others are many, a sum of them stands for them.
    """
    words = {constant: pathlib.Path(value).name if constant == 'SOURCE' else value for constant, value in changed.items()
             if constant not in (*FREE, 'DATASET')}
    told = ''.join(f'-{_told(constant, value)}' for constant, value in words.items())
    if len(told) > 90:
        told = '-' + hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:8]
    return f'{pathlib.Path(script).stem}-{files.shortened(pathlib.Path(dataset).name.replace(":", "-") or "pictures")}{told}'


def _told(constant, value):
    flag = constant.lower().replace('_', '-')
    if isinstance(value, bool):
        return flag if value else f'no-{flag}'
    texts = [f'{n:g}' if isinstance(n, float) and float(f'{n:g}') == n else str(n)
             for n in (value if isinstance(value, tuple) else [value])]
    return '-'.join([flag, *(re.sub(r'[^\w.+-]', '_', text) for text in texts)])
