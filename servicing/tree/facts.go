// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
)

// NotRead is the sum of what could not be read.
const NotRead = "?"

// Facts calls fn for every path of one directory, whiteouts included, in the order of Walk, with a sum over its
// metadata: type, permissions, owner, size, modification time, device, target, and all extended attributes but those
// with which overlayfs keeps its books (see [Seal]). Number of links and change time are not part of it: merges change
// those. The sum changes when anything of that does. What cannot be read of a path counts as it fails.
func Facts(ctx context.Context, dir string, fn func(path, sum string) error) error {
	return facts(ctx, dir, fn, func(p *place) (string, error) {
		h := sha256.New()
		if err := p.parts[0].addMeta(h); err != nil {
			return "", fmt.Errorf("read %s: %w", Shown(p.path), err)
		}
		return hex.EncodeToString(h.Sum(nil)[:16]), nil
	})
}

// Contents is [Facts] with sums over the content of regular files, "-" for other paths, and [NotRead] for what
// cannot be read. Holes are not read, and count as the zeroes that they show.
func Contents(ctx context.Context, dir string, fn func(path, sum string) error) error {
	return facts(ctx, dir, fn, func(p *place) (string, error) {
		if kindOf(p.parts[0].st.Mode) != Regular {
			return "-", nil
		}
		sum, err := p.parts[0].contentSum(ctx)
		if err != nil && ctx.Err() == nil {
			return NotRead, nil // the sum says so, and the other paths are worth knowing
		}
		return sum, err
	})
}

func facts(ctx context.Context, dir string, fn func(path, sum string) error, sum func(*place) (string, error)) error {
	v, err := Open(Stack{dir})
	if err != nil {
		return fmt.Errorf("read what is in a node: %w", err)
	}
	defer v.Close()
	err = v.walk(ctx, func(p *place) error {
		s, err := sum(p)
		if err != nil {
			return err
		}
		return fn(p.path, s)
	})
	if err != nil {
		return fmt.Errorf("read what is in a node: %w", err)
	}
	return nil
}

// addMeta adds the metadata of what stands at a place to a sum. Each value comes with its length.
func (p *part) addMeta(h hash.Hash) error {
	numbers := []uint64{
		uint64(p.st.Mode), uint64(p.st.Uid), uint64(p.st.Gid), uint64(p.st.Mtim.Sec), uint64(p.st.Mtim.Nsec),
	}
	var target string
	switch kindOf(p.st.Mode) {
	case Regular:
		numbers = append(numbers, uint64(p.st.Size))
	case CharDevice, BlockDevice:
		numbers = append(numbers, p.st.Rdev)
	case Symlink:
		var err error
		if target, err = readLink(p.dir, p.name); err != nil {
			return err
		}
	}
	for _, n := range numbers {
		addValue(h, binary.BigEndian.AppendUint64(nil, n))
	}
	addValue(h, []byte(target))
	attrs, err := p.attributes()
	if err != nil {
		addValue(h, []byte(err.Error())) // there are too many to be listed
	}
	for _, attr := range slices.Sorted(slices.Values(attrs)) {
		if treatmentOf(attr) == stripped {
			continue
		}
		value, err := getXattr(p.dir, p.name, attr)
		if err != nil {
			value = []byte(err.Error())
		}
		addValue(h, []byte(attr))
		addValue(h, value)
	}
	return nil
}

func addValue(h hash.Hash, value []byte) {
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(value))))
	h.Write(value)
}

// sumBlock is the unit in which content is summed up; a block of zeroes is passed over.
const sumBlock = 64 << 10

// contentSum returns a sum over the content of a regular file.
func (p *part) contentSum(ctx context.Context) (sum string, err error) {
	file, st, err := openRegular(p.dir, p.name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	buf := make([]byte, sumBlock)
	for at := int64(0); at < st.Size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		begin, end, err := nextExtent(file, at, st.Size)
		if err != nil {
			return "", err
		}
		first := max(at, begin-begin%sumBlock)
		for at = first; at < end; at += sumBlock {
			if err := addBlock(ctx, h, file, at, buf); err != nil {
				return "", err
			}
		}
		at = max(at, end)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

var zeroes = make([]byte, sumBlock)

// addBlock adds a block of a file to a sum, with its place, unless there are only zeroes in it.
func addBlock(ctx context.Context, h hash.Hash, file *os.File, at int64, buf []byte) error {
	n, err := file.ReadAt(buf, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(buf[:n], zeroes[:n]) {
		addValue(h, binary.BigEndian.AppendUint64(nil, uint64(at)))
		addValue(h, buf[:n])
	}
	return ctx.Err()
}
