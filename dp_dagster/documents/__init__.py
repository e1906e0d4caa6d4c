"""Documents of other standards: written from any product, and read into a product's folder.

One file a format: :mod:`.odps` and :mod:`.odcs` (Bitol), :mod:`.json_schema`, :mod:`.dbt`. What a format cannot say
is named in the document, where it has a place for that, and in the :class:`~dp_dagster.documents.written.Note` s
beside it; nothing is dropped in silence.
"""
