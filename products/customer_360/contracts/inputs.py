"""What the shops' files must look like at the door: columns and types, keys, amounts that add up."""

from typing import Annotated

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check

ShopTime = Annotated[pl.Datetime, "us", None]


class RawCustomers(pa.DataFrameModel):
    """Customers as the shops have them."""

    id: str = pa.Field(unique=True, description="The customer.")
    name: str = pa.Field(description="Full name.", metadata={"classification": "pii"})


class RawOrders(pa.DataFrameModel):
    """Orders as the shops have them, amounts in cents."""

    id: str = pa.Field(unique=True, description="The order.")
    customer: str = pa.Field(description="Who ordered.")
    ordered_at: ShopTime = pa.Field(description="When, on the clock of the store.")
    store_id: str = pa.Field(description="Where.")
    subtotal: int = pa.Field(ge=0, description="Price before tax.", metadata={"unit": "cents"})
    tax_paid: int = pa.Field(ge=0, description="Tax, rounded down.", metadata={"unit": "cents"})
    order_total: int = pa.Field(ge=0, description="What was paid.", metadata={"unit": "cents"})

    total_adds_up = row_check(
        pl.col("subtotal") + pl.col("tax_paid") == pl.col("order_total"),
        description="Price and tax make the total.",
    )


class RawItems(pa.DataFrameModel):
    """Ordered items, one row for each piece."""

    id: str = pa.Field(unique=True, description="The piece.")
    order_id: str = pa.Field(description="The order that it belongs to.")
    sku: str = pa.Field(description="Which product it is.")


class RawProducts(pa.DataFrameModel):
    """The menu."""

    sku: str = pa.Field(unique=True, description="Stock keeping unit.")
    name: str = pa.Field(description="Name on the menu.")
    type: str = pa.Field(isin=["jaffle", "beverage"], description="A jaffle or a beverage.")
    price: int = pa.Field(gt=0, description="Price before tax.", metadata={"unit": "cents"})
    description: str = pa.Field(description="What is in it.")


class RawStores(pa.DataFrameModel):
    """The stores."""

    id: str = pa.Field(unique=True, description="The store.")
    name: str = pa.Field(description="The city that it is in.")
    opened_at: ShopTime = pa.Field(description="Day of opening; may lie ahead.")
    tax_rate: float = pa.Field(in_range=(0, 1), description="Sales tax as a fraction of the price.")


class RawTweets(pa.DataFrameModel):
    """What customers wrote about their orders."""

    id: str = pa.Field(unique=True, description="The tweet.")
    user_id: str = pa.Field(description="The customer who wrote it.")
    tweeted_at: ShopTime = pa.Field(description="When.")
    content: str = pa.Field(description="The text.", metadata={"classification": "restricted"})
