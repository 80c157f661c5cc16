// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Seal makes a directory that was the upper one of an overlay fit to be a node: it strips below it, in place, the
// extended attributes with which overlayfs keeps its books (origin, impure, uuid, nlink, upper), those of overlays
// mounted with userxattr included. On another base they would give wrong inode numbers and ESTALE. Whiteouts, opaque
// marks and the notes of flags stay (see [Flags]), and so do escaped attributes, which are data of the user.
//
// Attributes that give a file a meaning which would be lost on another base (redirect, metacopy), those that are not
// known, and those that have to be stripped and cannot because somebody set flags on the inode itself, are refused with
// a
// *RefusedError; nothing was changed then. Those of userxattr are data there: no mount of ours heeds
// them, and whoever may write in a container can set them. Sealing again changes nothing, so a Seal that was
// interrupted is finished by the next one. The directory must not be mounted. Nothing is synced.
func Seal(ctx context.Context, dir string) error {
	_, err := SealFlagged(ctx, dir)
	return err
}

// SealFlagged is [Seal], and reports whether there are files with flags that protect them: [ShowFlags] is needed before
// the node is mounted as a lower directory.
func SealFlagged(ctx context.Context, dir string) (flagged bool, err error) {
	v, err := Open(Stack{dir})
	if err != nil {
		return false, fmt.Errorf("seal: %w", err)
	}
	defer v.Close()
	err = v.walk(ctx, func(p *place) error {
		protected, err := checkSealable(p, dir)
		flagged = flagged || protected
		return err
	})
	if err != nil {
		return flagged, fmt.Errorf("seal: %w", err)
	}
	if err := v.walk(ctx, strip); err != nil {
		return flagged, fmt.Errorf("seal: %w", err)
	}
	return flagged, nil
}

// treatment is what becomes of an extended attribute when a directory is sealed.
type treatment uint8

const (
	kept treatment = iota
	stripped
	refused
)

func treatmentOf(attr string) treatment {
	own, trusted := strings.CutPrefix(attr, ownTrusted)
	if !trusted {
		var user bool
		if own, user = strings.CutPrefix(attr, ownUser); !user {
			return kept
		}
	}
	if strings.HasPrefix(own, escape) {
		return kept
	}
	switch own {
	case "opaque", "whiteout", "protattr":
		return kept
	case "origin", "impure", "uuid", "nlink", "upper":
		return stripped
	}
	if trusted { // redirect, metacopy, and what later kernels may add
		return refused
	}
	return kept
}

// checkSealable refuses a place that cannot be sealed, and reports whether flags protect it. The directory that is
// sealed is dir.
func checkSealable(p *place, dir string) (flagged bool, err error) {
	top := p.parts[0]
	attrs, err := top.attributes()
	if err != nil {
		return false, fmt.Errorf("extended attributes of %w", named(p.path, err))
	}
	noted, known, err := top.noted()
	if err != nil {
		return false, fmt.Errorf("%s: %w", Shown(p.path), err)
	}
	if !known {
		return false, &RefusedError{Path: p.path, Xattr: attrProtected}
	}
	var set Flags
	if canHaveFlags(top.st.Mode) {
		if set, err = inodeFlags(top.dir, top.name); err != nil {
			return false, fmt.Errorf("inode flags of %s: %w", Shown(p.path), err)
		}
		set &= protecting
	}
	for _, attr := range attrs {
		switch treatment := treatmentOf(attr); {
		case treatment == refused:
			return false, &RefusedError{Path: p.path, Xattr: attr}
		case treatment == stripped && set != 0:
			return false, &RefusedError{Path: p.path, Xattr: attr, Flags: set, File: filepath.Join(dir, p.path)}
		}
	}
	return noted|set != 0, nil
}

func strip(p *place) error {
	top := p.parts[0]
	attrs, err := top.attributes()
	if err != nil {
		return fmt.Errorf("extended attributes of %w", named(p.path, err))
	}
	for _, attr := range attrs {
		if treatmentOf(attr) != stripped {
			continue
		}
		if err := removeXattr(top.dir, top.name, attr); err != nil {
			return fmt.Errorf("remove extended attribute %s of %q: %w", attr, p.path, err)
		}
	}
	return nil
}

// blockSize is the unit of a file's number of blocks, whatever the file system.
const blockSize = 512

// Usage returns the disk space in bytes and the number of inodes that a directory takes, itself and whiteouts included,
// hard links counted once. The directory may be in use: what vanishes in the meantime is not counted.
func Usage(ctx context.Context, dir string) (size, inodes int64, err error) {
	v, err := Tolerance{Changes: true}.Open(Stack{dir})
	if err != nil {
		return 0, 0, fmt.Errorf("measure usage: %w", err)
	}
	defer v.Close()
	type inode struct{ dev, ino uint64 }
	seen := make(map[inode]bool)
	count := func(p *place) error {
		st := &p.parts[0].st
		if id := (inode{st.Dev, st.Ino}); st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		size += st.Blocks * blockSize
		inodes++
		return nil
	}
	if err := v.walk(ctx, count); err != nil {
		return 0, 0, fmt.Errorf("measure usage: %w", err)
	}
	return size, inodes, nil
}
