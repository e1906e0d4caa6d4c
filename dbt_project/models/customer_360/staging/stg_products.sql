-- One product's name ends with a space in the source.
select
    sku as product_id,
    trim(name) as product_name,
    type as product_type,
    (price / 100)::decimal(12, 2) as price
from {{ source('input', 'raw_products') }}
