UPDATE search_parts SET whole = $3 WHERE organization_id = $1 AND number = $2
