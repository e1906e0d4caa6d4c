select
    id as store_id,
    name as store_name,
    opened_at::timestamp as opened_at,
    tax_rate::double as tax_rate
from {{ source('input', 'raw_stores') }}
