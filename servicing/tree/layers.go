// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// openDirs is one directory of a view: the directories of the layers that make it up, the topmost first. Their
// descriptors are opened when they are needed, so that a walk can close those of the directories it is not in.
type openDirs struct {
	view   *View
	path   string
	layers []int
	fds    []int // one for each of the layers; -1 while it is not open
}

func (v *View) dirs(path string, layers []int) *openDirs {
	d := &openDirs{view: v, path: path, layers: layers, fds: make([]int, len(layers))}
	for i := range d.fds {
		d.fds[i] = -1
	}
	return d
}

// fd returns an O_PATH descriptor of the directory in the i-th of the layers. It stays valid until close.
func (d *openDirs) fd(i int) (int, error) {
	if d.fds[i] >= 0 {
		return d.fds[i], nil
	}
	fd, err := openBeneath(d.view.roots[d.layers[i]], d.path, openDirFlags)
	if err != nil {
		return -1, fmt.Errorf("open directory %s: %w", Shown(d.path), err)
	}
	d.fds[i] = fd
	return fd, nil
}

// close closes the descriptors; fd opens them again. They were not written through, so nothing can go wrong.
func (d *openDirs) close() {
	for i, fd := range d.fds {
		if fd >= 0 {
			release(fd)
			d.fds[i] = -1
		}
	}
}

// part is what one layer has at a path. It can be asked for more as long as its directory is open.
type part struct {
	layer int
	dir   int // descriptor of the directory that it is in
	name  string
	st    unix.Stat_t
	attrs []string // the stored names of its extended attributes, once listed
	known bool     // whether they are
}

// attributes returns the stored names of the extended attributes.
func (p *part) attributes() ([]string, error) {
	if p.known {
		return p.attrs, nil
	}
	attrs, err := listXattrs(p.dir, p.name)
	if err != nil {
		return nil, err
	}
	p.attrs, p.known = attrs, true
	return attrs, nil
}

// has reports whether there is an extended attribute. It does not list them: a list can be too long to be read.
func (p *part) has(attr string) (bool, error) {
	if p.known {
		return slices.Contains(p.attrs, attr), nil
	}
	value, err := getXattr(p.dir, p.name, attr)
	return value != nil, err
}

// whiteout reports whether this is one, in either of the two forms: a character device 0:0, or an empty regular file
// with an extended attribute. The kernel takes the second form for a whiteout in every directory; that the directory
// should be marked as having such ones (opaque "x") matters only for what its readdir lists.
func (p *part) whiteout() (bool, error) {
	switch kindOf(p.st.Mode) {
	case CharDevice:
		return p.st.Rdev == 0, nil
	case Regular:
		if p.st.Size != 0 {
			return false, nil
		}
		return p.has(attrWhiteout)
	}
	return false, nil
}

// opaque reports whether this is a directory that hides those below it.
func (p *part) opaque() (bool, error) {
	value, err := getXattr(p.dir, p.name, attrOpaque)
	return string(value) == "y", err
}

// place is what a view has at a path.
type place struct {
	view *View
	path string
	// as far down as they count, topmost first: directories that merge, or one part of another kind, or none
	parts []*part
	gone  bool // the one part is a whiteout
	cut   bool // nothing that stands below the last part shows
	inner bool // it is in a directory below which nothing shows
}

// look finds out what stands at a name in a directory. Only the layers at the given positions of d.layers are asked,
// those being known to have the name; nil asks all.
func (d *openDirs) look(name string, positions []int) (place, error) {
	p := place{view: d.view, path: joinPath(d.path, name)}
	if name == root {
		p.path = root
	}
	if positions == nil {
		positions = countTo(len(d.layers))
	}
	for _, i := range positions {
		if err := d.add(&p, i, name); err != nil {
			return p, fmt.Errorf("look at %s: %w", Shown(p.path), err)
		}
		if p.cut {
			break
		}
	}
	return p, nil
}

// add adds to a place what the i-th layer has there, if that counts.
func (d *openDirs) add(p *place, i int, name string) error {
	fd, err := d.fd(i)
	if err != nil {
		return err
	}
	found := &part{layer: d.layers[i], dir: fd, name: name}
	err = unix.Fstatat(fd, name, &found.st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
		return nil
	}
	if err != nil {
		return err
	}
	first := len(p.parts) == 0
	if kindOf(found.st.Mode) == Directory {
		p.parts = append(p.parts, found)
		if name == root {
			return nil // the roots of the layers always merge, whatever they are marked as
		}
		p.cut, err = found.opaque()
		return err
	}
	p.cut = true
	if !first {
		return nil
	}
	p.parts = append(p.parts, found)
	p.gone, err = found.whiteout()
	return err
}

// shown reports whether the view shows anything at the place.
func (p *place) shown() bool { return len(p.parts) > 0 && !p.gone }

// directory reports whether the view shows a directory at the place.
func (p *place) directory() bool { return len(p.parts) > 0 && kindOf(p.parts[0].st.Mode) == Directory }

// layers returns the layers that make up a directory, none when it is not one.
func (p *place) layers() []int {
	if !p.directory() {
		return nil
	}
	layers := make([]int, len(p.parts))
	for i, part := range p.parts {
		layers[i] = part.layer
	}
	return layers
}

// refused reports what the kernel does not show either with the mount options that molt uses: directories that were
// renamed, and files whose content is elsewhere.
func (p *place) refused() error {
	attr := attrRedirect
	if !p.directory() {
		if p.gone || kindOf(p.parts[0].st.Mode) != Regular {
			return nil
		}
		attr = attrMetacopy
	}
	for _, part := range p.parts {
		if has, err := part.has(attr); err != nil || has {
			return errors.Join(err, refusedIf(has, p.path, attr))
		}
	}
	return nil
}

func refusedIf(is bool, path, attr string) error {
	if !is {
		return nil
	}
	return &RefusedError{Path: path, Xattr: attr}
}

// entry returns all about the file shown at the place.
func (p *place) entry() (Entry, error) {
	e, err := p.describe()
	if err != nil {
		return Entry{}, fmt.Errorf("read %s: %w", Shown(p.path), err)
	}
	return e, nil
}

func (p *place) describe() (Entry, error) {
	xattrs, err := p.xattrs()
	var unread *UnreadableError
	if errors.Is(err, unix.E2BIG) {
		unread = &UnreadableError{p.path, LongList}
		if err = unread; p.view.tolerance.LongLists {
			err = nil
		}
	}
	if err != nil {
		return Entry{}, err
	}
	e, err := p.bare()
	e.Xattrs, e.Unread = xattrs, unread
	return e, err
}

// bare returns the file shown at the place without its extended attributes.
func (p *place) bare() (Entry, error) {
	if err := p.refused(); err != nil {
		return Entry{}, err
	}
	top := p.parts[0]
	flags, err := top.flags()
	if err != nil {
		return Entry{}, err
	}
	e := Entry{
		Path:  p.path,
		Kind:  kindOf(top.st.Mode),
		Meta:  Meta{Mode: top.st.Mode & 0o7777, UID: top.st.Uid, GID: top.st.Gid, Mtime: top.st.Mtim, Flags: flags},
		Layer: top.layer,
		Dev:   top.st.Dev, Ino: top.st.Ino,
		Nlink: uint64(top.st.Nlink), //nolint:unconvert // it is shorter on other architectures
	}
	switch e.Kind {
	case Regular:
		e.Size = top.st.Size
	case Symlink:
		e.Link, err = readLink(top.dir, top.name)
		e.Size = int64(len(e.Link))
	case CharDevice, BlockDevice:
		e.Rdev = top.st.Rdev
	}
	return e, err
}

// xattrs returns the extended attributes as an overlay mount shows them.
func (p *place) xattrs() (map[string]Value, error) {
	top := p.parts[0]
	attrs, err := top.attributes()
	if err != nil {
		return nil, err
	}
	var (
		values map[string]Value
		from   *origin
	)
	for _, stored := range attrs {
		shown, ok := shownName(stored)
		if !ok {
			continue
		}
		if from == nil {
			from = &origin{view: p.view, layer: top.layer, path: p.path, dev: top.st.Dev, ino: top.st.Ino}
			values = make(map[string]Value)
		}
		err := withXattr(top.dir, top.name, stored, func(value []byte) error {
			// A clone of the name: it would keep the whole list in memory that it was cut from.
			values[strings.Clone(shown)] = newValue(stored, value, from)
			return nil
		})
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not there: some file systems list names that they have no value for
		}
		if errors.Is(err, unix.EINVAL) && stored == attrCapability {
			continue // malformed: it has no meaning to the kernel, which does not read it out
		}
		if err != nil {
			return nil, fmt.Errorf("extended attribute %s: %w", stored, err)
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	return values, nil
}

func countTo(n int) []int {
	positions := make([]int, n)
	for i := range positions {
		positions[i] = i
	}
	return positions
}
