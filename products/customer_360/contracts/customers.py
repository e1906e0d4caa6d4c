"""What consumers of the dataset `customers` may rely on."""

from typing import Annotated

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check

Dollars = Annotated[pl.Decimal, 12, 2]
ShopTime = Annotated[pl.Datetime, "us", None]


class Customers(pa.DataFrameModel):
    """One row for each customer who ever ordered.

    Times are on the clock of the store. Amounts are in dollars and include tax.
    """

    customer_id: str = pa.Field(
        unique=True,
        str_matches=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        description="The customer.",
    )
    name: str = pa.Field(
        str_length={"min_value": 1, "max_value": 200},
        description="Full name. Not unique: customers may share one.",
        metadata={"classification": "pii"},
    )
    home_store: str = pa.Field(description="Store with most of the customer's orders.")
    first_ordered_at: ShopTime = pa.Field(description="First order.")
    last_ordered_at: ShopTime = pa.Field(description="Last order.")
    number_of_orders: pl.Int32 = pa.Field(
        ge=1, description="Orders, those without items included.", metadata={"unit": "orders"}
    )
    number_of_items: pl.Int32 = pa.Field(ge=0, description="Pieces ordered.", metadata={"unit": "pieces"})
    lifetime_value: Dollars = pa.Field(
        ge=0, description="What the customer paid in all.", metadata={"unit": "US dollars"}
    )
    lifetime_tax: Dollars = pa.Field(ge=0, description="Tax in it.", metadata={"unit": "US dollars"})
    average_order_value: Dollars = pa.Field(
        ge=0, description="Lifetime value by orders.", metadata={"unit": "US dollars"}
    )
    favourite_product: str = pa.Field(
        nullable=True,
        description="Product ordered most often; of several, the one ordered last. Null without items.",
    )
    favourite_product_share: float = pa.Field(
        nullable=True, in_range=(0, 1), description="Its share of all pieces. Null without items."
    )
    number_of_tweets: pl.Int32 = pa.Field(
        ge=0, description="Tweets about orders.", metadata={"unit": "tweets"}
    )

    class Config:
        """Columns are exactly these."""

        strict = True

    first_before_last = row_check(
        pl.col("first_ordered_at") <= pl.col("last_ordered_at"),
        description="The first order is not after the last.",
    )
    tax_within_value = row_check(
        pl.col("lifetime_tax") <= pl.col("lifetime_value"), description="Tax is part of what was paid."
    )
    favourite_if_items = row_check(
        (pl.col("number_of_items") > 0) == pl.col("favourite_product").is_not_null(),
        description="There is a favourite product if, and only if, an item was ordered.",
    )
    paid_if_items = row_check(
        (pl.col("number_of_items") > 0) == (pl.col("lifetime_value") > 0),
        description="Who ordered an item paid for it, and nobody else paid.",
    )
    item_for_each_order = row_check(
        pl.col("number_of_items") >= pl.col("number_of_orders"),
        severity="warn",
        description="A customer has at least as many items as orders; some orders hold none.",
    )
