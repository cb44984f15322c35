"""docs/map.md against the project: links that lead somewhere, entries that exist, everything that trains, the counts."""
import collections
import re

import objectives

import pytest
from conftest import ROOT, SCRIPTS

PAGE = (ROOT / 'docs/map.md').read_text()
NAMES = {**objectives.OBJECTIVES, **objectives.PENALTIES}
LISTED = 191                                         # names of the list as it stood then


def rows(text):
    """[(name, paper, change, place)] of the tables of a text."""
    found = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines() if line.startswith('| ')]
    return [row for row in found if row[1] != 'paper']


def entries(place):
    """(objectives and penalties that a cell names, those that it calls penalties)."""
    named = re.findall(r'objectives\.py\)(?:: )?((?:(?:, |penalty )?`[\w-]+`|, penalty `[\w-]+`)*)', place)
    return {name for names in named for name in re.findall('`([^`]+)`', names)}, {
        name for names in named for name in re.findall('penalty `([^`]+)`', names)}


def kind(place):
    return next((kind for kind in ('in part', 'not yet', 'no') if re.match(f'{kind}(: |$)', place)), 'here')


LIST, REST = map(rows, PAGE.split('## Not on the list'))
ROWS = LIST + REST


def test_the_page_counts_right():
    text = ' '.join(PAGE.split('\n## ')[0].split())
    said = re.search(r'All (\d+) names .* Of the (\d+), (\d+) are here, (\d+) in part, (\d+) not yet, and (\d+) are not', text)
    kinds = collections.Counter(kind(place) for *_, place in LIST)
    counts = [kinds[name] for name in ('here', 'in part', 'not yet', 'no')]
    assert [int(number) for number in said.groups()] == [LISTED, LISTED, *counts] and len(LIST) == sum(counts) == LISTED
    assert int(re.search(r'(\d+) more that the list has not', text)[1]) == len(REST)


def test_a_name_is_there_once_and_in_its_place():
    names = [name for name, *_ in ROWS]
    assert len(set(names)) == len(names)
    for group in PAGE.split('\n## ')[1:]:
        names = [name for name, *_ in rows(group)]
        assert names and names == sorted(names, key=str.casefold)


@pytest.mark.parametrize('row', ROWS, ids=lambda row: row[0])
def test_a_row_is_true_of_the_project(row):
    """Its paper's year and id agree; a script that it links exists, and one that is not yet does not; so does an entry."""
    _, paper, change, place = row
    found = re.fullmatch(r'\[20(\d\d), arXiv:(\d\d)(\d\d\.\d{4,5})\]\(https://arxiv\.org/abs/(\d{4}\.\d{4,5})\)', paper)
    assert found and found[1] == found[2] and found[2] + found[3] == found[4] or re.fullmatch(
        r'(\[20\d\d\]\(https://\S+\)|20\d\d)', paper)
    assert change and (place.startswith('[') or kind(place) != 'here')
    scripts = re.findall(r'\[`(\w+)\.py`\]\(\.\./(\w+)\.py\)', place)
    assert len(scripts) == place.count('](')
    assert all(said == linked and (ROOT / f'{linked}.py').exists() for said, linked in scripts)
    planned = re.findall(r'`(\w+)\.py`', re.sub(r'\[[^\]]*\]', '', place))
    assert not planned or 'not yet' in place and not any((ROOT / f'{name}.py').exists() for name in planned)
    named, penalties = entries(place)
    assert named - penalties <= set(objectives.OBJECTIVES) and penalties <= set(objectives.PENALTIES)
    assert ('objectives.py' in place) == bool(named)


def test_what_trains_is_on_the_map():
    linked = {name for *_, place in ROWS for name in re.findall(r'\.\./(\w+)\.py', place)}
    assert set(SCRIPTS) <= linked
    assert set().union(*(entries(place)[0] for *_, place in ROWS)) == set(NAMES) - {'none'}
