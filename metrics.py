"""Measures the samples of runs, or of any other program, beside real pictures (evaluation.py; docs/metrics.md says why).

    python metrics.py runs/dcgan-mnist
    python metrics.py runs/dcgan-mnist runs/cgan-mnist runs/acgan-mnist --count 5000
    python metrics.py samples.npz --dataset fashion --count 5000 --json

Nearest training pictures, and confusions of classes, are drawn into the folder of a run, or beside an .npz that is alone.
"""
import contextlib
import json
import sys

from plumbing import files, flags


def parse(arguments):
    parser = flags.Parser(__doc__)
    parser.add_argument('paths', type=flags.path, nargs='+', metavar='path',
                        help='run folder, or .npz with uint8 images [N, H, W, C], and labels [N] if they were asked to show '
                             'a class')
    parser.add_argument('--dataset', help="mnist, fashion, stacked_mnist or a folder of pictures; the run's own if not given")
    parser.add_argument('--count', type=flags.whole('the count', 1), help='samples, and real pictures (default 10000; 26000 for '
                                                                          'stacked_mnist; a tenth of a folder if that is less)')
    parser.add_argument('--seed', type=flags.whole('the seed'), help='of the samples drawn from a run (default 0)')
    parser.add_argument('--best', action='store_true', help='of a run: the generator that measured best, not the last')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table: of several paths, {path: result}')
    given = parser.parse_args(arguments)
    for path in given.paths:
        if not path.exists():
            raise files.UserError(f'{path} does not exist: name a run folder or an .npz file')
        if not given.dataset and not path.is_dir():
            raise files.UserError(f'{path} does not say which data set it imitates: add --dataset')
        if given.best and not path.is_dir():
            raise files.UserError(f'{path} has no generator that measured best, as run folders have: leave out --best')
        if given.seed is not None and not path.is_dir():
            raise files.UserError(f'{path} holds its samples, and none are drawn: leave out --seed')
    return given


def measured(path, given):
    """What `evaluation.measure` says of a run folder or an .npz; given: the command line."""
    import data
    import evaluation
    from plumbing import archives, networks, runfolder, savedmodel

    run = path.is_dir()
    named = given.dataset or runfolder.read_settings(path)['DATASET']
    images, labels = (None, None) if run else archives.read(path)
    found = savedmodel.sampled(path, best=given.best) if run else None
    if run and given.seed is not None and networks.translates(found.inputs, found.output):
        raise files.UserError(f'the generator of {path} takes images, not latents: leave out --seed')
    shape = found.shape if run else images.shape[1:]
    if len(shape) != 3:
        raise files.UserError(f'{path} makes points, not images: there is nothing to compare with {named}')
    dataset = data.full_name(named)
    count = given.count or evaluation.COUNT.get(dataset, 10000)
    if not given.count and dataset not in data.NAMES:
        count = evaluation.default_count(dataset, shape)
    evaluation.check_count(dataset, shape, count)
    if run:
        images, labels = evaluation.samples(path, dataset, shape, count, given.seed or 0, given.best)
        count = count if given.count else min(count, len(images))       # of pictures that are translated there may be fewer
    drawn = path if run else path.parent if len(given.paths) == 1 else None
    return evaluation.measure(images, dataset, count, labels, drawn)


def table(result):
    """A result of `evaluation.measure` as aligned text: a line for each number, with model, real, ratio, what to hope for."""
    from evaluation import worst_class
    from plumbing import measures

    lines = [_heading(result), f'{"":20}{"model":>10}{"real":>10}{"ratio":>9}   better']
    for name, ratio in result['ratio'].items():
        lines.append(f'{name:20}{result["model"][name]:10.4g}{result["real"][name]:10.4g}'
                     f'{"-" if ratio is None else f"{ratio:.3g}":>9}   {measures.AIM[name]}')
    for row in ['model', 'real']:
        if 'class_shares' in result[row]:
            shares = ''.join(f'{100 * share:6.1f}' for share in result[row]['class_shares'])
            lines.append(f'classes %  {row:7}{shares}')
    if result['classes']:
        lines += ['', worst_class(result), f'{"class":20}{"right %":>10}{"real":>10}{"frechet":>10}{"real":>10}']
        columns = [result[row]['by_class'][name] for name in ('gan_test', 'class_frechet') for row in ('model', 'real')]
        for name, *numbers in zip(result['classes'], *columns, strict=True):
            cells = ['-' if n is None else f'{100 * n:.2f}' if i < 2 else f'{n:.3f}' for i, n in enumerate(numbers)]
            lines.append(f'{files.shortened(files.one_line(name), 19):20}' + ''.join(f'{cell:>10}' for cell in cells))
    return '\n'.join(lines)


def tables(results):
    """{path: result} side by side, a column for each, in a table for each data set and way of measuring."""
    from plumbing import measures

    groups = {}
    for path, result in results.items():
        groups.setdefault(_heading(result), {})[path] = result
    texts = []
    for heading, group in groups.items():
        lines, real = [heading], {}
        for result in group.values():
            real |= result['real']
        keys = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ' if len(group) <= 26 else list(map(str, range(1, len(group) + 1)))
        lines += [f'{key}: {files.one_line(path)}' for key, path in zip(keys, group, strict=False)]
        lines.append(' ' * 20 + ''.join(f'{key:>10}' for key in keys[:len(group)]) + f'{"real":>10}   better')
        for name in [name for name in measures.AIM if any(name in result['model'] for result in group.values())]:
            numbers = [result['model'].get(name) for result in group.values()] + [real.get(name)]
            cells = ''.join(f'{"-" if number is None else f"{number:.4g}":>10}' for number in numbers)
            lines.append(f'{name:20}{cells}   {measures.AIM[name]}')
        texts.append('\n'.join(lines))
    return '\n\n'.join(texts)


def _heading(result):
    return (f'{result["count"]} samples of each, {result["dataset"]}, {result["evaluator"]}, '
            f'{result["features"]} features, k = {result["neighbours"]}'
            + (f', all pairs of {result["paired"]}' if result['paired'] < result['count'] else ''))


def main(arguments=None):
    with files.one_line_errors():
        given = parse(arguments)
        from plumbing import runfolder, savedmodel

        for path in [path for path in given.paths if path.is_dir()]:
            runfolder.read(path)
            savedmodel.saved(path, 'generator-best' if given.best else 'generator')
        with contextlib.redirect_stdout(sys.stderr):    # only the result goes to stdout
            results = {str(path): measured(path, given) for path in given.paths}
        one = next(iter(results.values())) if len(results) == 1 else None
        if given.json:
            print(json.dumps(one or results, indent=2))
        else:
            print(table(one) if one else tables(results))


if __name__ == '__main__':
    main()
