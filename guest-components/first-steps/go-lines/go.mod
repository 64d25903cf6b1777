module go-lines

go 1.21
