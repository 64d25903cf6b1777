module my/say-hello

go 1.27
