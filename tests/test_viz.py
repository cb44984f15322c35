"""Pictures by their pixels, read back with the library that wrote them."""
import viz
from plumbing import files, measures, recorder

import imageio.v3 as iio
import matplotlib.figure
import numpy as np
import pytest
import scipy.optimize
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
    np.testing.assert_allclose(measures.running_mean(column), plain)


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


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The function (text of scalars.csv, options of viz.curves) -> {title of a panel: its axes}."""
    def axes(text, **options):
        (tmp_path / 'scalars.csv').write_text(text)
        figures = []
        monkeypatch.setattr(matplotlib.figure.Figure, 'savefig', lambda figure, path, **_: figures.append(figure) or path.touch())
        viz.curves(tmp_path / 'losses.png', tmp_path / 'scalars.csv', **options)
        return {panel.get_title(): panel for panel in figures[0].axes}
    return axes


def labelled(panel):
    """{label in the legend: line}"""
    return {line.get_label(): line for line in panel.lines if not line.get_label().startswith('_')}


def test_columns_of_one_quantity_share_a_panel(drawn):
    assert list(drawn('step,d_loss,D(x),D(G(z)),elbo\n10,1,0.5,0.4,3\n')) == ['d_loss', 'D(x), D(G(z))', 'elbo']
    assert list(drawn('step,gan_test,wd,gan_test_worst\n10,,2,\n')) == ['gan_test, gan_test_worst', 'wd']
    assert list(drawn('step,D(x)\n')) == ['D(x)']                                      # alone, and without a row


def test_single_measurements_are_points_and_not_averaged(drawn):
    rows = [f'{step},{step % 3},{step if step % 100 == 0 else ""}' for step in range(1, 301)]
    panels = drawn('\n'.join(['step,loss,frechet_2000', *rows]))
    faint, mean = panels['loss'].lines
    assert faint.get_alpha() < 1 and len(mean.get_xdata()) == 300 and mean.get_marker() == 'None'
    measured, = panels['frechet_2000'].lines
    assert measured.get_marker() == 'o'
    np.testing.assert_array_equal(measured.get_xydata(), [[100, 100], [200, 200], [300, 300]])
    assert panels['loss'].get_xlim() == panels['frechet_2000'].get_xlim()
    few = drawn('step,loss\n10,5\n20,3\n')['loss'].lines                              # a short run
    assert [line.get_marker() for line in few] == ['o']


def test_what_real_pictures_and_a_d_that_cannot_tell_give(drawn):
    text = 'step,d_loss,D(x),D(G(z)),frechet_2000\n10,1,0.7,0.3,9\n20,1,0.6,0.3,4\n'
    panels = drawn(text, real={'frechet_2000': 0.06})
    found = {name: labelled(panel) for name, panel in panels.items()}
    assert {name: list(lines) for name, lines in found.items()} == {
        'd_loss': ['d_loss', '2 ln 2'], 'D(x), D(G(z))': ['D(x)', 'D(G(z))', '1/2'], 'frechet_2000': ['frechet_2000', 'real']}
    np.testing.assert_allclose(found['d_loss']['2 ln 2'].get_ydata(), -np.log(0.5) - np.log(1 - 0.5))
    assert set(found['D(x), D(G(z))']['1/2'].get_ydata()) == {0.5}
    smoothed = {name: labelled(panel) for name, panel in drawn(text, target=0.9).items()}
    best = scipy.optimize.minimize_scalar(lambda d: -0.9 * np.log(d) - 0.1 * np.log(1 - d) - np.log(1 - d), bounds=(0.1, 0.9))
    np.testing.assert_allclose(smoothed['d_loss']['1.376'].get_ydata(), best.fun)
    np.testing.assert_allclose(smoothed['D(x), D(G(z))']['0.45'].get_ydata(), best.x, rtol=1e-4)
    assert set(found['frechet_2000']['real'].get_ydata()) == {0.06} and found['frechet_2000']['real'].get_linestyle() == '--'
    plain = drawn('step,d_loss\n10,1\n20,1\n')                                          # a Wasserstein loss, say
    assert labelled(plain['d_loss']).keys() == {'d_loss'}


def test_pairs_stand_in_frames_and_below_their_caption():
    left, right = np.full([3, 8, 8, 1], 10, np.uint8), np.full([3, 8, 8, 1], 20, np.uint8)
    left[2] = 30
    picture = viz.pairs(left, right, 'a | b', columns=2)
    below = picture[26:]                                                                # 14 pixels of text, a margin of 6
    assert picture[:26].min() < 128 and below.shape == (2 * 20 + 12 + 6, 2 * 38 + 12 + 2 * 6)
    for number, (top, side) in enumerate([(0, 6), (0, 56), (32, 6)]):
        pair = below[top:top + 20, side:side + 38]
        assert (pair[2:-2, 2:18] == left[number, 0, 0, 0]).all() and (pair[2:-2, 20:36] == 20).all()
        assert {*pair[0], *pair[-1], *pair[:, 0], *pair[:, -1], *pair[:, 18]} == {128}
    assert (below[:, :6] == 255).all() and (below[:, 44:56] == 255).all() and (below[32:, 44:] == 255).all()
    colour = viz.pairs(left.repeat(3, 3), right.repeat(3, 3), 'a | b', columns=2)
    np.testing.assert_array_equal(colour, picture[:, :, None].repeat(3, 2))


@pytest.mark.parametrize('channels', [1, 3])
def test_names_of_rows_are_in_a_margin_on_the_left(channels):
    images = np.random.default_rng(0).integers(0, 256, [6, 10, 10, channels], np.uint8)
    plain, named = viz.grid(images, 3), viz.grid(images, 3, labels=['a', 'a longer name'])
    margin = named[:, :-plain.shape[1]]
    np.testing.assert_array_equal(named[:, margin.shape[1]:], plain)
    assert margin[:22].min() < 100 and margin[24:].min() < 100                          # text in both rows
    assert (margin[:, 0] == 255).all() and (margin[:, -1] == 255).all()
    dark = (margin.reshape(*margin.shape[:2], -1).min(2) < 100)
    assert np.flatnonzero(dark[24:].any(0))[0] < np.flatnonzero(dark[:22].any(0))[0]    # flush right


@pytest.mark.parametrize('channels', [1, 3])
def test_numbers_are_in_the_corners_of_a_grid(channels):
    picture = viz.numbered(np.full([5, 28, 28, channels], 90, np.uint8), zoom=2)
    plain = viz.grid(np.full([5, 28, 28, channels], 90, np.uint8), zoom=2)
    changed = (picture != plain).reshape(*plain.shape[:2], -1).any(2)
    for row in range(2):
        for column in range(3):
            cell = changed[60 * row:, 60 * column:][:56, :56]
            assert cell[:16, :20].any() == (3 * row + column < 5) and not cell[16:].any()
    assert viz.numbered(np.zeros([1, 8, 8, 1], np.uint8)).shape == (48, 48)             # room for a number


def test_lines_and_points(tmp_path):
    viz.lines(tmp_path / 'lines.png', {'a': ([2, 8], [1, 2]), 'b': ([2, 32], [3, 1])}, 'size', 'share')
    points = np.random.default_rng(0).standard_normal([50, 2])
    viz.scatter(tmp_path / 'points.png', points, np.arange(50) % 10)
    viz.scatter(tmp_path / 'alike.png', points, None)                                 # of a folder without classes
    for name in 'lines.png', 'points.png', 'alike.png':
        assert iio.imread(tmp_path / name).std() > 1
