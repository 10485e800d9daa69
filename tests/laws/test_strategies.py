import pytest
from accord.testing import check_law, shown_laws
from gateway.strategies.registry import kinds, load

@pytest.mark.parametrize(("kind", "law"), [(kind, law) for kind in kinds() for law in shown_laws(load(kind))])
def test_every_installed_strategy_obeys_the_laws_of_its_traits(kind, law):
    """Each."""
    check_law(load(kind), law)
