{{ config(materialized='table') }}

with tweets as (
    select
        customer_id,
        count(*)::integer as number_of_tweets
    from {{ ref('stg_tweets') }}
    group by customer_id
)

select
    customers.customer_id,
    customers.name,
    orders.home_store,
    orders.first_ordered_at,
    orders.last_ordered_at,
    coalesce(orders.number_of_orders, 0)::integer as number_of_orders,
    coalesce(favourites.pieces_of_all_products, 0)::integer as number_of_items,
    coalesce(orders.lifetime_value, 0)::decimal(12, 2) as lifetime_value,
    coalesce(orders.lifetime_tax, 0)::decimal(12, 2) as lifetime_tax,
    (orders.lifetime_value / nullif(orders.number_of_orders, 0))::decimal(12, 2) as average_order_value,
    favourites.product_name as favourite_product,
    (favourites.pieces / favourites.pieces_of_all_products)::double as favourite_product_share,
    coalesce(tweets.number_of_tweets, 0)::integer as number_of_tweets
from {{ ref('stg_customers') }} as customers
left join {{ ref('customer_orders') }} as orders on orders.customer_id = customers.customer_id
left join {{ ref('customer_favourites') }} as favourites on favourites.customer_id = customers.customer_id
left join tweets on tweets.customer_id = customers.customer_id
