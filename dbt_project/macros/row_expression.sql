{#- A row is bad where the expression is not true; null counts as bad. -#}
{% test row_expression(model, expression) %}

select *
from {{ model }}
where ({{ expression }}) is not true

{% endtest %}
