-- The product that a customer ordered most often. Of several, the one ordered last; then the first by id.
with counted as (
    select
        orders.customer_id,
        items.product_id,
        count(*) as pieces,
        max(orders.ordered_at) as last_ordered_at
    from {{ ref('stg_items') }} as items
    inner join {{ ref('stg_orders') }} as orders on orders.order_id = items.order_id
    group by orders.customer_id, items.product_id
)

select
    counted.customer_id,
    counted.product_id,
    products.product_name,
    counted.pieces::integer as pieces,
    (sum(counted.pieces) over (partition by counted.customer_id))::integer as pieces_of_all_products
from counted
left join {{ ref('stg_products') }} as products on products.product_id = counted.product_id
qualify row_number() over (
    partition by counted.customer_id
    order by counted.pieces desc, counted.last_ordered_at desc, counted.product_id
) = 1
