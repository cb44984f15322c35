"""Makes a folder that the commands read like a run's, small enough for the repository: its last generator, in 16 bits.

    python -m benchmarks.pretrained runs/dcgan-mnist weights/dcgan-mnist

Prints its size, and the largest difference of a grey level between 1,000 of its samples and the run's.
"""
import json

from plumbing import files, flags

import numpy as np

COUNT = 1000


def main(arguments=None):
    parser = flags.Parser(__doc__)
    parser.add_argument('run', type=flags.path, help='folder of a finished run')
    parser.add_argument('folder', type=flags.path, help='new folder, or one to make again')
    with files.one_line_errors():
        given = parser.parse_args(arguments)
        flags.run_folder(given.run)
        from plumbing import runfolder, savedmodel

        record = runfolder.read(given.run)
        record['networks'] = {'generator': record['networks'].get('generator')}
        given.folder.mkdir(parents=True, exist_ok=True)
        savedmodel.freeze(given.run, given.folder / 'generator')
        files.write_json(given.folder / 'settings.json', record)
        size = sum(path.stat().st_size for path in given.folder.rglob('*') if path.is_file())
        before, after = (savedmodel.samples(folder, COUNT).astype(int) for folder in (given.run, given.folder))
        print(json.dumps({'megabytes': round(size / 1e6, 2), 'largest_difference': int(np.abs(before - after).max()),
                          'pixels_that_differ': float((before != after).mean())}))


if __name__ == '__main__':
    main()
