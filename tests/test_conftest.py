import pytest

from conftest import need


def test_a_missing_program_skips_a_test_and_in_ci_fails_it(monkeypatch):
    assert need('no-such-program', 'sh').endswith('/sh')
    monkeypatch.delenv('CI', raising=False)
    with pytest.raises(pytest.skip.Exception, match='no-such-program'):
        need('no-such-program')
    monkeypatch.setenv('CI', 'true')
    with pytest.raises(pytest.fail.Exception, match='no-such-program'):
        need('no-such-program')
