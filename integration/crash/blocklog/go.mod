module github.com/molt-snapshotter/molt-snapshotter/integration/crash/blocklog

go 1.26.6

require (
	github.com/hanwen/go-fuse/v2 v2.12.1
	golang.org/x/sys v0.28.0 // indirect
)
