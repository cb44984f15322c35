"""Pictures by their pixels, read back with the library that wrote them."""
import viz
from plumbing import files, recorder

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image


def test_to_uint8_is_the_inverse_of_the_scaling():
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(viz.to_uint8(values.astype(np.float32) / 127.5 - 1), values)
    np.testing.assert_array_equal(viz.to_uint8(np.array([-9, 9])), [0, 255])


@pytest.mark.parametrize('count, rows, columns', [(1, 1, 1), (2, 1, 2), (5, 2, 3), (64, 8, 8), (101, 10, 11)])
@pytest.mark.parametrize('channels', [1, 3])
def test_grid_holds_every_image_at_its_place(count, rows, columns, channels):
    images = np.random.default_rng(0).integers(1, 256, [count, 4, 6, channels], np.uint8)
    picture = viz.grid(images, gap=2, zoom=3).reshape(3 * (6 * rows - 2), 3 * (8 * columns - 2), channels)[::3, ::3]
    for number, image in enumerate(images):
        top, left = number // columns * 6, number % columns * 8
        np.testing.assert_array_equal(picture[top:top + 4, left:left + 6], image)
    assert picture.astype(int).sum() == images.astype(int).sum()  # and nothing else


def test_film_shows_the_pictures_in_order(tmp_path):
    paths = [tmp_path / f'{n}.png' for n in range(3)]
    for n, path in enumerate(paths):
        viz.save(path, np.full([8, 8], 100 * n, np.uint8))
    viz.film(tmp_path / 'film.gif', paths)
    frames = iio.imread(tmp_path / 'film.gif')
    assert [int(frame[..., 0].mean()) for frame in frames] == [0, 100, 200]
    assert iio.immeta(tmp_path / 'film.gif')['loop'] == 0


def test_film_of_one_picture(tmp_path):
    viz.film(tmp_path / 'film.gif', [viz.save(tmp_path / '0.png', np.full([8, 8], 100, np.uint8))])
    assert iio.imread(tmp_path / 'film.gif').squeeze()[0, 0].max() == 100


def foreign(folder, like):
    """Files that are no frames such as the file `like`: each is wrong in another way."""
    other = folder / 'other'
    for name, shape in ('wide', [8, 16]), ('colour', [8, 8, 3]):
        viz.save(other / f'{name}.png', np.full(shape, 200, np.uint8))
    whole = like.read_bytes()
    (other / 'text.png').write_text('no picture')
    (other / 'empty.png').touch()
    (other / 'cut.png').write_bytes(whole[:len(whole) // 2])
    (other / 'flipped.png').write_bytes(whole.replace(b'IDAT', b'IDAX'))
    Image.fromarray(np.full([8, 8], 9, np.uint8)).save(other / 'jpeg.png', 'JPEG')
    frames = [Image.fromarray(np.full([8, 8], n, np.uint8)) for n in (1, 2)]
    frames[0].save(other / 'animated.png', save_all=True, append_images=frames[1:])
    (other / 'folder.png').mkdir()
    return sorted([*other.iterdir(), other / 'missing\n.png'])


def test_a_film_leaves_out_what_is_not_of_its_kind_and_names_it(tmp_path, capsys):
    """First, in between and last; the frame that stays for longer is the last one that is left."""
    good = [viz.save(tmp_path / f'{n}.png', np.random.default_rng(n).integers(0, 256, [8, 8], np.uint8)) for n in range(3)]
    odd = foreign(tmp_path, good[0])
    viz.film(tmp_path / 'film.gif', [*odd[:4], good[0], *odd[4:-1], *good[1:], odd[-1]])
    frames = iio.imread(tmp_path / 'film.gif')
    for frame, path in zip(frames, good, strict=True):
        np.testing.assert_array_equal(frame[..., 0], iio.imread(path))
    with Image.open(tmp_path / 'film.gif') as film:
        durations = [film.seek(n) or film.info['duration'] for n in range(film.n_frames)]
    assert durations == [150, 150, 1500]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(odd) and all('left out of the film' in line for line in said)
    for path in odd:
        assert any(line.startswith(f'{files.one_line(path)} is') for line in said)


def test_a_film_of_nothing_is_not_made(tmp_path, capsys):
    (tmp_path / 'a.png').write_text('no picture')
    viz.film(tmp_path / 'film.gif', [tmp_path / 'a.png'])
    assert [path.name for path in tmp_path.iterdir()] == ['a.png']
    left_out, nothing = capsys.readouterr().err.splitlines()
    assert 'a.png is left out' in left_out and 'there is no picture' in nothing and 'film.gif' in nothing


@pytest.mark.parametrize('name', ['wide.jpg', 'wide.webp'])
def test_a_picture_that_a_format_cannot_hold_is_an_error(name, tmp_path):
    with pytest.raises(files.UserError, match='cannot write 70000x1 pixels as .*: a .png can be larger'):
        viz.save(tmp_path / name, np.zeros([1, 70000], np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('suffixes', [viz.PICTURES, viz.FIGURES])
def test_every_suffix_that_is_offered_can_be_written(suffixes, tmp_path):
    for suffix in suffixes:
        path = viz.checked(tmp_path / f'a{suffix.upper()}', suffixes)
        if suffixes == viz.PICTURES:
            viz.save(path, np.full([8, 9, 3], 50, np.uint8))
            assert Image.open(path).size == (9, 8)
        else:
            viz.lines(path, {'a': ([1, 2], [3, 4])}, 'across', 'up')
        assert path.stat().st_size > 40


def test_the_pictures_of_a_run_are_in_the_order_of_their_steps(tmp_path):
    """Not of their names: step-1000000 comes before step-999999 there."""
    for step in 1_000_000, 5, 999_999, 0:
        viz.save(tmp_path / f'samples/step-{step:06d}.png', np.full([8, 8], step % 251, np.uint8))
    pictures = recorder.pictures(tmp_path)
    assert [path.name for path in pictures] == ['step-000000.png', 'step-000005.png', 'step-999999.png', 'step-1000000.png']
    viz.film(tmp_path / 'film.gif', pictures)
    assert [int(frame[0, 0, 0]) for frame in iio.imread(tmp_path / 'film.gif')] == [0, 5, 999_999 % 251, 1_000_000 % 251]


def test_curves_draw_every_column(tmp_path):
    (tmp_path / 'scalars.csv').write_text('step,a,b,c\n10,1,2,\n20,2,3,4\n30,3,200,5\n')
    viz.curves(tmp_path / 'losses.png', tmp_path / 'scalars.csv')
    assert iio.imread(tmp_path / 'losses.png').std() > 1


def test_running_mean_against_plain_means():
    column = np.random.default_rng(0).standard_normal(200)
    plain = [column[max(i - 4, 0):i + 5].mean() for i in range(200)]
    np.testing.assert_allclose(viz._running_mean(column), plain)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text('half')
        raise RuntimeError
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]
    with files.replacing(path) as temporary:
        temporary.write_text('new')
    assert path.read_text() == 'new' and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_whole(tmp_path):
    for text in 'old', 'new':
        with files.replacing(tmp_path / 'model') as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert [path.name for path in (tmp_path / 'model').iterdir()] == ['new']
    assert [path.name for path in tmp_path.iterdir()] == ['model']


@pytest.mark.parametrize('error', [files.UserError('no such thing'), PermissionError('no such thing')])
def test_user_errors_are_one_line_and_status_2(error, capsys):
    with pytest.raises(SystemExit) as caught, files.one_line_errors():
        raise error
    assert caught.value.code == 2
    assert capsys.readouterr().err == 'error: no such thing\n'


def test_other_errors_keep_their_trace():
    with pytest.raises(ValueError), files.one_line_errors():
        raise ValueError


def test_columns_that_share_a_panel(tmp_path):
    (tmp_path / 'scalars.csv').write_text('step,a,b,c\n10,1,2,3\n20,2,,4\n30,3,20,5\n')
    sizes = []
    for together in (), ('b', 'c', 'missing'):
        viz.curves(tmp_path / 'losses.png', tmp_path / 'scalars.csv', together)
        sizes.append(iio.imread(tmp_path / 'losses.png').shape[0])
    assert sizes[0] == 2 * sizes[1]  # two lines of panels, and one


def test_lines_and_points(tmp_path):
    viz.lines(tmp_path / 'lines.png', {'a': ([2, 8], [1, 2]), 'b': ([2, 32], [3, 1])}, 'size', 'share')
    points = np.random.default_rng(0).standard_normal([50, 2])
    viz.scatter(tmp_path / 'points.png', points, np.arange(50) % 10)
    viz.scatter(tmp_path / 'alike.png', points, None)                                 # of a folder without classes
    for name in 'lines.png', 'points.png', 'alike.png':
        assert iio.imread(tmp_path / name).std() > 1
