// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// root is the directory with the two files.
type root struct {
	fs.Inode
	recorder *recorder
}

// OnAdd makes the files when the file system is mounted.
func (r *root) OnAdd(ctx context.Context) {
	r.AddChild("disk", r.NewPersistentInode(ctx, &disk{recorder: r.recorder}, fs.StableAttr{Ino: 2}), false)
	r.AddChild("mark", r.NewPersistentInode(ctx, &mark{recorder: r.recorder}, fs.StableAttr{Ino: 3}), false)
}

// disk is the file that a loop device is attached to.
type disk struct {
	fs.Inode
	recorder *recorder
}

// Getattr tells the size of the disk.
func (d *disk) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(d.recorder.size)
	return 0
}

// Setattr changes nothing: a disk keeps its size.
func (d *disk) Setattr(ctx context.Context, f fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, out)
}

// Open keeps the kernel from caching: a write is seen at the moment it is made.
func (d *disk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Read reads what was written.
func (d *disk) Read(_ context.Context, _ fs.FileHandle, into []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	n, err := d.recorder.image.ReadAt(into, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, syscall.EIO
	}
	return fuse.ReadResultData(into[:n]), 0
}

// Write writes and records.
func (d *disk) Write(_ context.Context, _ fs.FileHandle, data []byte, offset int64) (uint32, syscall.Errno) {
	if err := d.recorder.write(data, offset); err != nil {
		return 0, syscall.EIO
	}
	return uint32(len(data)), 0
}

// Fsync is how a loop device flushes its cache.
func (d *disk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return errno(d.recorder.barrier())
}

// Flush is called when a descriptor is closed, which promises nothing: it is no barrier.
func (d *disk) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

// Allocate is how a loop device discards and zeroes. Space that is only reserved changes nothing.
func (d *disk) Allocate(_ context.Context, _ fs.FileHandle, offset, size uint64, mode uint32) syscall.Errno {
	const punchHole, zeroRange = 0x02, 0x10 // FALLOC_FL_*
	if mode&(punchHole|zeroRange) == 0 {
		return 0
	}
	return errno(d.recorder.zero(int64(offset), int64(size)))
}

// mark is the file that takes marks. Each write is one.
type mark struct {
	fs.Inode
	recorder *recorder
}

// Getattr reports that it is an ordinary file.
func (m *mark) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = syscall.S_IFREG | 0o600
	return 0
}

// Open keeps the kernel from gathering marks.
func (m *mark) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// Write records a mark. It returns when the mark has its place in the log.
func (m *mark) Write(_ context.Context, _ fs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	if err := m.recorder.mark(data); err != nil {
		return 0, syscall.EIO
	}
	return uint32(len(data)), 0
}

func errno(err error) syscall.Errno {
	if err != nil {
		return syscall.EIO
	}
	return 0
}

// punch makes a range of a sparse file read as zeroes.
func punch(f *os.File, offset, length int64) error {
	if length == 0 {
		return nil
	}
	const punchHole, keepSize = 0x02, 0x01 // FALLOC_FL_*
	return syscall.Fallocate(int(f.Fd()), punchHole|keepSize, offset, length)
}
