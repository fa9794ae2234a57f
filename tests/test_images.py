"""Pictures of digits: what `load_image` and `read_image` make of them, and the files that they refuse."""
import random

import numpy as np, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import EpsImagePlugin, Image, ImageDraw, ImageOps, PngImagePlugin

from mnist_from_scratch.data import DataError, _centre, load_image, read_image


def seven(size=(320, 240), ink=(30, 40, 110), paper=(235, 225, 190), width=14, mode='RGB'):
    "A picture of a seven, far from the middle."
    im = Image.new(mode, size, paper)
    w,h = size
    points = [(w*180//320, h*60//240), (w*270//320, h*65//240), (w*225//320, h*190//240)]
    ImageDraw.Draw(im).line(points, fill=ink, width=width, joint='curve')
    return im

def saved(tmp_path, im, name='picture.png', **kwargs):
    im.save(tmp_path/name, **kwargs)
    return tmp_path/name

def refused(what, f, path):
    with pytest.raises(DataError) as e: f(path)
    assert what in str(e.value) and str(path) in str(e.value)


def test_centred_like_mnist(tmp_path):
    got = load_image(saved(tmp_path, seven()))
    assert got.shape == (28, 28) and got.dtype == torch.uint8 and got.max() == 255
    assert all(abs(o - 13.5) < 0.6 for o in _centre(got.float()))
    rows,cols = (got > 0).any(1).nonzero()[:,0],(got > 0).any(0).nonzero()[:,0]
    assert max(rows[-1] - rows[0], cols[-1] - cols[0]) + 1 in (19, 20)
    assert got[0].max() == 0

@pytest.mark.parametrize('change', [
    lambda im: im.resize((640, 480)), lambda im: ImageOps.invert(im), lambda im: im.convert('L'), lambda im: im.convert('P'),
    lambda im: ImageOps.invert(im).convert('L'), lambda im: im.convert('CMYK'), lambda im: im.convert('RGBA'), lambda im: im.convert('L').point(lambda v: 255*(v > 128)).convert('1'),
    lambda im: Image.fromarray(np.asarray(im.convert('L')).astype('uint16')*257)])
def test_size_and_colours_make_no_difference(tmp_path, change):
    a,b = load_image(saved(tmp_path, seven())).float(),load_image(saved(tmp_path, change(seven()), 'changed.tif')).float()
    assert (a - b).abs().mean() < 8

@pytest.mark.parametrize('suffix', 'png jpg jpeg gif bmp webp tif tiff'.split())
def test_formats(tmp_path, suffix):
    a,b = load_image(saved(tmp_path, seven())).float(),load_image(saved(tmp_path, seven(), f'x.{suffix}')).float()
    assert (a - b).abs().mean() < 8
    grey = Image.new('L', (28, 28), 100)
    assert abs(int(read_image(saved(tmp_path, grey, f'y.{suffix}')).mean()) - 100) <= 1

def test_odd_pictures(tmp_path):
    "Thin strokes in a large picture, white ink on nothing at all, 16 bits a pixel, one pixel, a line, turned by a camera."
    thin = Image.new('L', (2000, 2000), 255)
    ImageDraw.Draw(thin).line([(600, 300), (1300, 300), (900, 1700)], fill=0, width=6)
    clear = Image.new('RGBA', (100, 100))
    ImageDraw.Draw(clear).line([(30, 20), (70, 20), (50, 80)], fill='white', width=8)
    black = Image.new('RGBA', (100, 100))
    ImageDraw.Draw(black).line([(30, 20), (70, 20), (50, 80)], fill='black', width=8)
    deep = Image.fromarray(np.asarray(seven().convert('L')).astype('uint16')*257)
    dot = Image.new('L', (9, 9)); dot.putpixel((4, 4), 255)
    line = Image.new('L', (300, 3)); ImageDraw.Draw(line).line([(9, 1), (290, 1)], fill=255)
    for i,im in enumerate((thin, clear, black, deep, dot, line)): assert load_image(saved(tmp_path, im, f'{i}.png')).max() == 255
    exif = Image.Exif(); exif[0x112] = 6                                          # to be turned clockwise
    turned = load_image(saved(tmp_path, seven().rotate(90, expand=True), 'turned.jpg', exif=exif))
    assert (turned.float() - load_image(saved(tmp_path, seven())).float()).abs().mean() < 8

@settings(max_examples=40, deadline=None, database=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32-1))
def test_any_picture_is_read_or_refused(tmp_path_factory, w, h, seed):
    f = tmp_path_factory.mktemp('any')/'x.png'
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w)).astype('uint8')).save(f)
    try: assert load_image(f).shape == (28, 28)
    except DataError as e: assert 'one shade of grey' in str(e)

def test_what_is_no_picture(tmp_path):
    refused('no digit was found', load_image, saved(tmp_path, Image.new('RGB', (50, 50), 'grey'), 'blank.png'))
    refused('no digit was found', load_image, saved(tmp_path, Image.new('RGBA', (50, 50)), 'clear.png'))
    (tmp_path/'fake.png').write_bytes(b'GIF89a, or so it says')
    (tmp_path/'empty.png').write_bytes(b'')
    for f in (load_image, read_image):
        for name in ('fake.png', 'empty.png', 'nowhere.png'): refused('Expected an image (PNG', f, tmp_path/name)
        refused('Expected an image', f, tmp_path)
    refused('30×28 pixels, expected 28×28', read_image, saved(tmp_path, Image.new('L', (30, 28)), 'large.png'))

def test_a_huge_picture_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    refused('DecompressionBomb', load_image, saved(tmp_path, Image.new('1', (100, 100)), 'bomb.png'))

@pytest.mark.parametrize('name', ['x.png', 'x.eps', 'x.jpg'])
def test_no_other_program_is_started(tmp_path, monkeypatch, name):
    "Pillow gives EPS to Ghostscript, whatever the file is called. We don't."
    gs = tmp_path/'gs'
    gs.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
    gs.chmod(0o755)
    monkeypatch.setattr(EpsImagePlugin, 'gs_binary', str(gs))
    (tmp_path/name).write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n%%EndComments\nshowpage\n%%EOF\n')
    for f in (load_image, read_image): refused('cannot identify', f, tmp_path/name)
    assert not (tmp_path/'started').exists()

@pytest.mark.parametrize('other', ['PPM', 'PCX', 'ICO', 'TGA', 'SGI', 'PDF'])
def test_other_formats_are_refused(tmp_path, other):
    seven(size=(64, 64)).save(tmp_path/'x.png', format=other)
    refused('cannot identify', load_image, tmp_path/'x.png')

@pytest.mark.parametrize('f, im', [(load_image, seven(size=(90, 70), width=6)), (read_image, seven(size=(28, 28), width=2).convert('L'))],
                         ids=['load_image', 'read_image'])
def test_flipped_bits(tmp_path, f, im):
    "A PNG with one bit changed anywhere is refused, or its pixels are what they were."
    whole,file,rng = saved(tmp_path, im).read_bytes(),tmp_path/'flipped.png',random.Random(42)
    good,read = torch.as_tensor(f(tmp_path/'picture.png')),0
    for i in rng.sample(range(8*len(whole)), min(1200, 8*len(whole))):
        bad = bytearray(whole)
        bad[i//8] ^= 1 << i%8
        file.write_bytes(bad)
        try: assert torch.equal(torch.as_tensor(f(file)), good); read += 1
        except DataError as e: assert 'flipped.png' in str(e)
    assert read < 120                    # such as the bits of the last checksum
