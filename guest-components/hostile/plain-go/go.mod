module plain-go

go 1.21
