select
    id as tweet_id,
    user_id as customer_id,
    tweeted_at::timestamp as tweeted_at
from {{ source('input', 'raw_tweets') }}
