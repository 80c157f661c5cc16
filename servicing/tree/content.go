// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// SameContent reports whether two entries have the same content, metadata aside: regular files by their bytes, symbolic
// links by target, devices by number; directories, FIFOs and sockets have no content of their own. Entries of different
// kinds differ. Regular files are read with bounded memory, without their holes, and not at all if their sizes differ
// or if they are one file. It ends with the context of the first view, see [View.Within].
func SameContent(a *View, ea Entry, b *View, eb Entry) (bool, error) {
	if ea.Kind != eb.Kind {
		return false, nil
	}
	switch ea.Kind {
	case Symlink:
		return ea.Link == eb.Link, nil
	case CharDevice, BlockDevice:
		return ea.Rdev == eb.Rdev, nil
	case Regular:
		if ea.Size != eb.Size || ea.Size == 0 {
			return ea.Size == eb.Size, nil
		}
		if ea.Dev == eb.Dev && ea.Ino == eb.Ino {
			return true, nil
		}
		return sameBytes(a, ea, b, eb)
	default:
		return true, nil
	}
}

func sameBytes(a *View, ea Entry, b *View, eb Entry) (bool, error) {
	fa, err := a.OpenEntry(ea)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := b.OpenEntry(eb)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	same, err := sameFiles(a.context(), fa, fb, ea.Size)
	if err != nil {
		return false, fmt.Errorf("compare %s with %s: %w", Shown(ea.Path), Shown(eb.Path), err)
	}
	return same, nil
}

// Feed writes the content of a regular file to something that takes it, such as a digest. It ends with the context of
// the view.
func (v *View) Feed(to io.Writer, e Entry) error {
	file, err := v.OpenEntry(e)
	if err != nil {
		return err
	}
	defer file.Close()
	for {
		n, err := io.CopyN(to, file, atOnce)
		switch {
		case n < atOnce && errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", Shown(e.Path), err)
		}
		if err := v.context().Err(); err != nil {
			return err
		}
	}
}

// sameFiles compares two files of a size, extent by extent: where both have a hole nothing is read.
func sameFiles(ctx context.Context, a, b *os.File, size int64) (bool, error) {
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		beginA, endA, err := nextExtent(a, at, size)
		if err != nil {
			return false, err
		}
		beginB, endB, err := nextExtent(b, at, size)
		if err != nil {
			return false, err
		}
		begin, end := beginA, endA
		if beginB < beginA {
			begin, end = beginB, endB
		}
		end = min(end, begin+atOnce)
		same, err := sameStreams(io.NewSectionReader(a, begin, end-begin), io.NewSectionReader(b, begin, end-begin))
		if err != nil || !same {
			return false, err
		}
		at = end
	}
	return true, nil
}

func sameStreams(a, b io.Reader) (bool, error) {
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		na, errA := io.ReadFull(a, bufA)
		nb, errB := io.ReadFull(b, bufB)
		if err := errors.Join(notEnd(errA), notEnd(errB)); err != nil {
			return false, err
		}
		if !bytes.Equal(bufA[:na], bufB[:nb]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return errA != nil && errB != nil, nil
		}
	}
}

// notEnd returns an error of io.ReadFull unless it says that the end was reached.
func notEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
