SELECT nextval('worker_numbers')
