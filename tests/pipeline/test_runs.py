from pipeline_helpers import Workshop, rows


def test_a_run(workshop: Workshop) -> None:
    product = workshop.product()
    run = product.run()
    assert run.published.snapshot is not None
    assert rows(run.published.snapshot) == [("ada", 1), ("ben", 2)]
    assert product.query("from small.v1.vw_rows") == [("ada", 1), ("ben", 2)]
    assert product.leftovers() == []
