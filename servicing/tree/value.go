// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxHeld is the size in bytes of the largest value of an extended attribute that is held in memory. Any user of a
// container can make as many values as there is room for on the disk, of up to 64 KiB each.
const maxHeld = 256

// Value is the value of an extended attribute. A small value is held in memory. Of a large one only the length and the
// SHA-256 digest are held, and where it stands, so that it can be read again; access control lists, which are data to
// those who merge them, are always held. Values are compared with Equal. The zero Value is the empty one.
type Value struct {
	_      [0]func() // no comparison with ==
	text   string    // the value; of one that is not held, its digest
	size   int       // in bytes
	origin *origin   // of a large value that was read; nil for all others
	digest bool      // text is the digest
}

// origin is the file that values were read from.
type origin struct {
	view     *View
	layer    int
	path     string
	dev, ino uint64
}

// NewValue makes a value, which is held in memory.
func NewValue(value []byte) Value { return Value{text: string(value), size: len(value)} }

// newValue makes the value that an attribute has in a file.
func newValue(attr string, value []byte, from *origin) Value {
	switch {
	case len(value) <= maxHeld:
		return NewValue(value)
	case attr == attrAccessACL || attr == attrDefaultACL:
		return Value{text: string(value), size: len(value), origin: from}
	default:
		return Value{text: digestOf(value), size: len(value), origin: from, digest: true}
	}
}

func digestOf(value []byte) string {
	sum := sha256.Sum256(value)
	return string(sum[:])
}

// Size returns the length of the value in bytes.
func (v Value) Size() int { return v.size }

// Held returns the value if it is held in memory, and reports whether it is. The values of access control lists and all
// values of at most 256 bytes are.
func (v Value) Held() (string, bool) {
	if v.digest {
		return "", false
	}
	return v.text, true
}

// Memory returns how many bytes of memory the value takes apart from the struct itself.
func (v Value) Memory() int { return len(v.text) }

// Equal reports whether two values are the same. Values that are not held are the same if their lengths and digests
// are.
func (v Value) Equal(w Value) bool {
	if v.size != w.size {
		return false
	}
	if v.digest == w.digest {
		return v.text == w.text
	}
	return v.digested() == w.digested()
}

func (v Value) digested() string {
	if v.digest {
		return v.text
	}
	return digestOf([]byte(v.text))
}

// light returns the value without what can be read again.
func (v Value) light() Value {
	if !v.digest && v.origin != nil {
		v.text, v.digest = v.digested(), true
	}
	return v
}

// light returns the metadata with values that can be read again left out of memory.
func (m Meta) light() Meta {
	xattrs := m.Xattrs
	m.Xattrs = nil
	for name, value := range xattrs {
		if m.Xattrs == nil {
			m.Xattrs = make(map[string]Value, len(xattrs))
		}
		m.Xattrs[name] = value.light()
	}
	return m
}

// use calls fn with the bytes of the value, which are valid until it returns. A value that is not held is read from
// where it was found, by its stored name; it is an error if another one stands there now.
func (v Value) use(stored string, fn func([]byte) error) error {
	if !v.digest {
		return fn([]byte(v.text))
	}
	return v.origin.read(stored, func(value []byte) error {
		if len(value) != v.size || digestOf(value) != v.text {
			return errors.New("it has changed since it was looked at")
		}
		return fn(value)
	})
}

// read calls fn with the value of an attribute of the file.
func (o *origin) read(stored string, fn func([]byte) error) error {
	if o.layer >= len(o.view.roots) {
		return fmt.Errorf("read it from %s again: its view is closed", Shown(o.path))
	}
	dir, name := splitPath(o.path)
	fd, err := openBeneath(o.view.roots[o.layer], dir, openDirFlags)
	if err != nil {
		return fmt.Errorf("read it from %s again: %w", Shown(o.path), err)
	}
	defer release(fd)
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("read it from %s again: %w", Shown(o.path), err)
	}
	if st.Dev != o.dev || st.Ino != o.ino {
		return fmt.Errorf("read it from %s again: another file stands there now", Shown(o.path))
	}
	if err := withXattr(fd, name, stored, fn); err != nil {
		return fmt.Errorf("read it from %s again: %w", Shown(o.path), err)
	}
	return nil
}
