// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command blocklog serves a disk that remembers the order of all that was written to it.
//
//	blocklog PLACE BACKING SIZE LOG
//
// At PLACE it mounts a file system with two files: "disk", of SIZE bytes, kept in the sparse file BACKING; and "mark",
// into which a test writes what was acknowledged to it. Everything that happens to the disk, and every mark, is
// appended to LOG in one order. It says "ready" on its standard output, and ends when its standard input does; only
// then is LOG whole.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: blocklog PLACE BACKING SIZE LOG")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "blocklog:", err)
		os.Exit(1)
	}
}

func serve(place, backing, size, log string) error {
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return fmt.Errorf("read the size: %w", err)
	}
	image, err := os.OpenFile(backing, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := image.Truncate(bytes); err != nil {
		return err
	}
	out, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	r := &recorder{image: image, size: bytes, log: bufio.NewWriterSize(out, 1<<20)}
	// No other program is asked to mount, and requests are as large as the kernel makes them.
	options := fuse.MountOptions{DirectMountStrict: true, MaxWrite: 1 << 20, FsName: "blocklog", Name: "blocklog"}
	if _, err := fs.Mount(place, &root{recorder: r}, &fs.Options{MountOptions: options}); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	// A mount namespace that was made in the meantime may keep the mount; it ends with this process all the same.
	err = errors.Join(err, syscall.Unmount(place, syscall.MNT_DETACH))
	return errors.Join(err, r.finish(), out.Close(), image.Close())
}
