"""Products beside each other: one that fails stops no other, and what they may not share."""

from __future__ import annotations

import pytest

from dp_dagster.errors import DescriptorError, UsageError
from dp_dagster.resolve import find_descriptors, find_product, resolve_paths, resolve_project
from dp_dagster.resolve.order import ordered
from dp_dagster.settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Settings(project_root=tmp_path)


def add(settings, folder, product_id, *upstream, major=1, extra=""):
    path = settings.project_root / "products" / folder / "product.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs = "".join(
        f"  - {{name: in_{number}, type: PRODUCT, port: {port}}}\n" for number, port in enumerate(upstream)
    )
    path.write_text(
        f"product_id: {product_id}\nversion: {major}.0.0\n"
        + (f"input_ports:\n{inputs}" if upstream else "")
        + f"output_ports:\n  - {{name: out, type: SQL}}\n{extra}"
    )
    return path


def failures(project):
    return {failure.path.parent.name: str(failure.error) for failure in project.failures}


def test_products_are_found_by_pattern(settings):
    a = add(settings, "a", "a")
    add(settings, "_hidden", "b")
    add(settings, ".hidden", "c")
    (settings.project_root / "products" / "empty").mkdir()
    (settings.project_root / "products" / "readme.txt").write_text("")
    assert find_descriptors(settings) == (a,)
    by_file = settings.model_copy(update={"products": ("products/*/product.yaml", "products/*")})
    assert set(find_descriptors(by_file)) >= {a}
    with pytest.raises(UsageError, match="/abs is no pattern below"):
        find_descriptors(settings.model_copy(update={"products": ("/abs",)}))


def test_a_broken_product_stops_no_other(settings):
    add(settings, "a", "a")
    add(settings, "b", "b", extra="nmae: x\n")
    add(settings, "c", "c").write_text("[")
    project = resolve_project(settings)
    assert [product.id for product in project.products] == ["a"]
    assert set(failures(project)) == {"b", "c"}
    assert failures(project)["b"] == "products/b/product.yaml:5: nmae: unknown key; did you mean name?"
    assert [failure.product_id for failure in project.failures] == ["b", "c"]


def test_two_products_with_one_id(settings):
    add(settings, "a", "same")
    add(settings, "b", "same")
    add(settings, "c", "other")
    project = resolve_project(settings)
    assert failures(project) == {
        "a": "products/a/product.yaml:1: product_id: same is the id of products/b/product.yaml too; "
        "give each product an id of its own",
        "b": "products/b/product.yaml:1: product_id: same is the id of products/a/product.yaml too; "
        "give each product an id of its own",
    }
    assert [product.id for product in project.products] == ["other"]


def test_an_id_that_a_broken_product_has_is_taken_too(settings):
    add(settings, "a", "same")
    add(settings, "b", "same", extra="nmae: x\n")
    assert "products/b/product.yaml" in failures(resolve_project(settings))["a"]


def test_a_circle_among_products(settings):
    add(settings, "a", "a", "c.out@1")
    add(settings, "b", "b", "d.out@1", "a.out@1")
    add(settings, "c", "c", "b.out@1")
    add(settings, "d", "d")
    add(settings, "e", "e", "c.out@1")
    project = resolve_project(settings)
    fix = "read from outside the circle"
    assert failures(project) == {
        "a": f"products/a/product.yaml:4: input_ports[0]: needs itself: a -> c -> b -> a; {fix}",
        "b": f"products/b/product.yaml:5: input_ports[1]: needs itself: b -> a -> c -> b; {fix}",
        "c": f"products/c/product.yaml:4: input_ports[0]: needs itself: c -> b -> a -> c; {fix}",
    }
    assert [product.id for product in project.products] == ["d", "e"]


def test_a_product_may_not_read_itself(settings):
    add(settings, "a", "a", "a.out@1")
    (said,) = failures(resolve_project(settings)).values()
    assert said == (
        "products/a/product.yaml:4: input_ports[0]: needs itself: a -> a; read from outside the circle"
    )


def test_a_port_that_the_producer_has_not(settings):
    add(settings, "a", "a")
    add(settings, "b", "b", "a.outt@1")
    add(settings, "c", "c", "a.old@2")  # another major version: only the storage knows
    add(settings, "d", "d", "elsewhere.out@1")
    assert failures(resolve_project(settings)) == {
        "b": "products/b/product.yaml:4: input_ports[0]: a has no output port outt; did you mean out?"
    }


def test_paths_are_resolved_once(settings):
    path = add(settings, "a", "a")
    project = resolve_paths([path, path], settings)
    assert len(project.products) == 1
    assert project.failures == ()


def test_a_product_is_found_by_its_id(settings):
    add(settings, "folder", "shops")
    add(settings, "broken", "b").write_text("[")
    assert find_product("shops", settings).id == "shops"
    with pytest.raises(UsageError, match=r"there is no product shop in .*; did you mean shops\?"):
        find_product("shop", settings)
    with pytest.raises(DescriptorError):
        find_product("broken", settings)
    add(settings, "again", "shops")
    with pytest.raises(UsageError, match="shops is the id of several products"):
        find_product("shops", settings)


def test_order_and_circles():
    assert ordered({"a": ["b", "x"], "b": ["c"], "c": []}) == (["c", "b", "a"], [])
    order, circles = ordered({"a": ["b"], "b": ["a"], "c": ["c"], "d": ["a"]})
    assert sorted(order) == ["a", "b", "c", "d"]
    assert circles == [["a", "b", "a"], ["c", "c"]]
    chain = {f"n{number}": [f"n{number + 1}"] for number in range(5000)} | {"n5000": []}
    assert ordered(chain)[0] == [f"n{number}" for number in range(5000, -1, -1)]
