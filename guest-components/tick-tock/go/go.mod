module my/tick-tock

go 1.27
