// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// fileID tells one file of a view from another, whatever its names are.
type fileID struct {
	view     *View
	dev, ino uint64
}

// copied is a file with several names that was copied under one of them.
type copied struct {
	path string
	meta Meta
}

// Copy writes an entry of a view, with its content and metadata, at its path. The metadata of the entry may have been
// changed. Blocks are shared with the original where the file system can do that, and holes are kept. Of several names
// of one file in the view, the second and further ones become hard links to the first one copied with the same
// metadata.
func (w *Writer) Copy(from *View, e Entry) error { return w.CopyAs(from, e, e.Path) }

// CopyAs is Copy to another path.
func (w *Writer) CopyAs(from *View, e Entry, path string) error {
	if e.Kind == Directory {
		return w.Mkdir(path, e.Meta)
	}
	if e.Nlink < 2 {
		return w.copyFile(from, e, path)
	}
	id := fileID{from, e.Dev, e.Ino}
	i := slices.IndexFunc(w.links[id], func(c copied) bool { return sameMeta(c.meta, e.Meta) })
	if i >= 0 {
		err := w.Link(w.links[id][i].path, path)
		if !errors.Is(err, unix.EMLINK) {
			return err
		}
		w.links[id] = slices.Delete(w.links[id], i, i+1) // it cannot have more names: begin another file
	}
	if err := w.copyFile(from, e, path); err != nil {
		return err
	}
	w.links[id] = append(w.links[id], copied{path, e.Meta.light()})
	return nil
}

func (w *Writer) copyFile(from *View, e Entry, path string) error {
	switch e.Kind {
	case Regular:
		return w.copyRegular(from, e, path)
	case Symlink:
		return w.Symlink(path, e.Link, e.Meta)
	default:
		return w.mknod(path, e.Kind, e.Rdev, e.Meta)
	}
}

func (w *Writer) copyRegular(from *View, e Entry, path string) error {
	src, err := from.OpenEntry(e)
	if err != nil {
		return err
	}
	defer src.Close()
	return w.create(path, e.Meta, func(dst *os.File) error { return copyContent(from.context(), dst, src) })
}

// sameMeta reports whether all metadata is the same.
func sameMeta(a, b Meta) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Mtime == b.Mtime &&
		a.Flags == b.Flags && maps.EqualFunc(a.Xattrs, b.Xattrs, Value.Equal)
}

// copyContent copies a whole file into an empty one: by sharing its blocks if possible, else extent by extent.
func copyContent(ctx context.Context, dst, src *os.File) error {
	info, err := src.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	err = unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	if err == nil || !unsupported(err) {
		return err
	}
	for at := int64(0); at < info.Size(); {
		begin, end, err := nextExtent(src, at, info.Size())
		if err != nil {
			return err
		}
		if err := copyRange(ctx, dst, src, begin, end); err != nil {
			return err
		}
		at = end
	}
	return dst.Truncate(info.Size()) // for a hole at the end
}

// nextExtent returns where the next data of a file begins and ends, both at size when there is none.
func nextExtent(file *os.File, at, size int64) (begin, end int64, err error) {
	fd := int(file.Fd())
	begin, err = unix.Seek(fd, at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if unsupported(err) {
		return at, size, nil // the file system does not tell holes
	}
	if err != nil {
		return 0, 0, fmt.Errorf("find data: %w", err)
	}
	if end, err = unix.Seek(fd, begin, unix.SEEK_HOLE); err != nil {
		return 0, 0, fmt.Errorf("find hole: %w", err)
	}
	return min(begin, size), min(end, size), nil
}

// atOnce is how many bytes of a content are worked on until it is asked whether to go on.
const atOnce = 64 << 20

// copyRange copies a part of a file to the same place of another one, in the kernel if possible.
func copyRange(ctx context.Context, dst, src *os.File, begin, end int64) error {
	for begin < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, to := begin, begin
		n, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(min(end-begin, atOnce)), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if unsupported(err) {
			if err := copyBytes(dst, src, begin, min(end, begin+atOnce)); err != nil {
				return err
			}
			begin += atOnce
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("copy: %w: the file became shorter", io.ErrUnexpectedEOF)
		}
		begin += int64(n)
	}
	return nil
}

func copyBytes(dst, src *os.File, begin, end int64) error {
	_, err := io.CopyN(io.NewOffsetWriter(dst, begin), io.NewSectionReader(src, begin, end-begin), end-begin)
	return err
}

// unsupported reports whether an error says that a way to copy is not possible here, so that another one should be
// tried.
func unsupported(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EOPNOTSUPP, unix.ENOTTY, unix.EXDEV, unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.ETXTBSY,
	}, func(e error) bool { return errors.Is(err, e) })
}
