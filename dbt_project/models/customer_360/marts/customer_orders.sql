-- What a customer's orders add up to. The home store is where most of them were placed.
with by_store as (
    select
        orders.customer_id,
        stores.store_name,
        row_number() over (
            partition by orders.customer_id
            order by count(*) desc, max(orders.ordered_at) desc, stores.store_name
        ) as preference
    from {{ ref('stg_orders') }} as orders
    left join {{ ref('stg_stores') }} as stores on stores.store_id = orders.store_id
    group by orders.customer_id, stores.store_name
)

select
    orders.customer_id,
    max(by_store.store_name) as home_store,
    min(orders.ordered_at) as first_ordered_at,
    max(orders.ordered_at) as last_ordered_at,
    count(*)::integer as number_of_orders,
    sum(orders.order_total)::decimal(12, 2) as lifetime_value,
    sum(orders.tax_paid)::decimal(12, 2) as lifetime_tax
from {{ ref('stg_orders') }} as orders
left join by_store on by_store.customer_id = orders.customer_id and by_store.preference = 1
group by orders.customer_id
