"""The page of explore.py: what it makes of its sliders, and driven in a browser without a window."""
import os
import pathlib
import socket
import sys
import time

import explore
from plumbing import drawing, latents, networks, savedmodel

import browser
import imageio.v3 as iio
import numpy as np
import pytest
from conftest import ROOT

RUN = ROOT / 'weights/dcgan-mnist'


@pytest.fixture(scope='module')
def explorer():
    return explore.Explorer(RUN)


def test_the_sliders_move_the_latents(explorer):
    base, along, added = explorer.start(3, 9.0), np.zeros(8), np.zeros(8)
    np.testing.assert_allclose(base['z'], networks.draw(explorer.inputs, 1, 3)['z'], rtol=1e-4)
    along[2], added[5] = 1.5, -0.5
    expected = base['z'] + 1.5 * drawing.directions(explorer.generate)[2] - 0.5 * np.eye(100)[5]
    moved = explorer.point(base, None, along, added)
    np.testing.assert_allclose(moved['z'], expected, rtol=1e-4, atol=1e-5)
    picture = explorer.picture(moved)
    assert picture.shape == (336, 336, 3)
    np.testing.assert_array_equal(picture[::12, ::12, :1], savedmodel.generator(RUN).draw({'z': moved['z']})[0])
    walk = explorer.walk(base, explorer.start(4, 9.0))
    np.testing.assert_array_equal(walk[:56:2, :56:2, None], explorer.generate.draw(base)[0])
    np.testing.assert_allclose(np.linalg.norm(latents.joined(explorer.inputs, base)), 10, atol=2.5)


def test_without_gradio_one_line_says_what_to_install(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    with refused('explore.py takes Gradio, which is no requirement of the rest: pip install gradio'):
        explore.main([str(RUN)])


@pytest.mark.parametrize('arguments, complaint', [
    (['runs/typo'], 'there is no folder runs/typo'), ([str(ROOT / 'docs')], 'docs holds no generator'),
    ([str(RUN), '--port', '80'], 'the port is a whole number from 1024'), ([str(RUN), '--best'], 'holds no generator-best')])
def test_mistakes_are_one_line_with_status_2(arguments, complaint, monkeypatch, refused):
    monkeypatch.setattr(explore, 'library', lambda: None)
    with refused(complaint):
        explore.main(arguments)


class Driven:
    """The page in a browser."""

    def __init__(self, page):
        self._page = page

    def wait(self, expression, seconds=60):
        """The value of an expression of JavaScript as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (value := self._page.run(expression)):
            assert time.monotonic() < deadline, expression
            time.sleep(0.1)
        return value

    def source(self, name, before=''):
        """The address of the picture `name`, as soon as it is another one than before."""
        return self.wait(f"(s => s != '{before}' && s)(document.querySelector('#{name} img')?.src || '')")

    def told(self, before=''):
        """What is said of a picture, as soon as it is something else than before."""
        return self.wait(f"(t => t.startsWith('mean squared') && t != '{before}' && t)"
                         "(document.querySelector('#told').innerText.trim())")

    def type(self, name, value):
        self._page.run(f"""(field => {{
            field.value = {value}; field.dispatchEvent(new Event('input', {{bubbles: true}}));
            field.dispatchEvent(new Event('change', {{bubbles: true}})); field.dispatchEvent(new Event('blur'))}}
            )(document.querySelector('#{name} input[type=number]'))""")

    def click(self, selector):
        self._page.run(f"document.querySelector('{selector}').click()")

    def upload(self, path):
        root = self._page.call('DOM.getDocument')['root']['nodeId']
        field = self._page.call('DOM.querySelector', nodeId=root, selector='#upload input[type=file]')['nodeId']
        self._page.call('DOM.setFileInputFiles', files=[str(path)], nodeId=field)
        self.wait("document.querySelector('#upload img')?.complete")

    def draw(self):
        """A stroke of the brush down the middle of the canvas."""
        self._page.run("document.querySelector('#canvas').scrollIntoView()")
        self.wait("!!document.querySelector('#canvas canvas')")
        self.click('#canvas [aria-label=Brush]')
        left, top, width, height = self._page.run(
            "(r => [r.left, r.top, r.width, r.height])(document.querySelector('#canvas canvas').getBoundingClientRect())")
        for number, down in enumerate(np.linspace(0.3, 0.7, 12)):
            kind = 'mousePressed' if number == 0 else 'mouseReleased' if number == 11 else 'mouseMoved'
            self._page.call('Input.dispatchMouseEvent', type=kind, x=left + width / 2, y=top + down * height, button='left',
                            buttons=0 if number == 11 else 1, clickCount=1)
            time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not browser.found(), reason='there is no Chromium or Chrome to drive')
def test_the_page_in_a_browser(explorer, tmp_path, monkeypatch):
    """A slider, a seed, a walk, an upload and a drawing; all that browser and server speak to is this machine."""
    pytest.importorskip('gradio', reason='Gradio is not installed: pip install gradio', exc_type=ImportError)
    monkeypatch.setenv('GRADIO_TEMP_DIR', str(tmp_path / 'gradio'))
    called, connect = set(), socket.socket.connect
    monkeypatch.setattr(socket.socket, 'connect', lambda self, where: (called.add(where[0]), connect(self, where))[1])
    monkeypatch.setattr(explore, 'DESCENT', 20)
    drawn = explorer.generate.draw(networks.draw(explorer.inputs, 1, 5))[0].repeat(4, 0).repeat(4, 1)
    iio.imwrite(tmp_path / 'mine.png', drawn[:, :, 0])
    address, blocks = explore.serve(explorer, wait=False)
    try:
        assert address.startswith('http://127.0.0.1:')
        with browser.opened(tmp_path / 'profile', 240) as page:
            page.load(address, 1200, 900)
            driven = Driven(page)
            first = driven.source('picture')
            driven.type('direction-0', 4)
            moved = driven.source('picture', first)
            driven.type('seed', 7)
            driven.source('picture', moved)
            driven.click('#go')
            driven.source('walk')
            driven.upload(tmp_path / 'mine.png')
            driven.click('#upload-go')
            told = driven.told()
            assert float(told.split()[-1]) < 0.03
            driven.draw()
            driven.click('#canvas-go')
            assert float(driven.told(told).split()[-1]) < 0.2
            page.screenshot(pathlib.Path(os.environ.get('EXPLORE_PNG', tmp_path / 'page.png')))
            asked = {url for url in page._events if url != 'loaded'}
    finally:
        blocks.close()
    assert len(asked) > 10 and all(url.startswith((address, 'blob:')) for url in asked)
    assert called <= {'127.0.0.1'}
