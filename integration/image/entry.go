// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"path"
	"time"
)

// xattrPrefix is how a PAX record names an extended attribute.
const xattrPrefix = "SCHILY.xattr."

// Entry is one file of a layer, as the tar archive of the layer holds it. The With methods return a changed
// copy, so entries can be shared between layers.
type Entry struct {
	// Header is the tar header; its Size is set from Content when the layer is written.
	Header tar.Header
	// Content is what a regular file holds.
	Content []byte
}

// File is a regular file with mode 0644.
func File(name, content string) Entry {
	return Entry{Header: header(tar.TypeReg, name, 0o644), Content: []byte(content)}
}

// Directory is a directory with mode 0755.
func Directory(name string) Entry {
	return Entry{Header: header(tar.TypeDir, name+"/", 0o755)}
}

// Symlink is a symbolic link to target, which is stored as it is.
func Symlink(name, target string) Entry {
	e := Entry{Header: header(tar.TypeSymlink, name, 0o777)}
	e.Header.Linkname = target
	return e
}

// Hardlink is a further name for target, an earlier entry of the same layer.
func Hardlink(name, target string) Entry {
	e := Entry{Header: header(tar.TypeLink, name, 0o644)}
	e.Header.Linkname = target
	return e
}

// Whiteout hides what the layers below have under name, in the OCI notation (.wh.name).
func Whiteout(name string) Entry {
	dir, base := path.Split(name)
	return File(dir+".wh."+base, "")
}

// Opaque hides everything that the layers below have in the directory, in the OCI notation (.wh..wh..opq).
func Opaque(dir string) Entry {
	return File(path.Join(dir, ".wh..wh..opq"), "")
}

// WithMode returns the entry with these permission, setuid, setgid and sticky bits (07777).
func (e Entry) WithMode(mode int64) Entry {
	e.Header.Mode = mode
	return e
}

// WithOwner returns the entry with this owner.
func (e Entry) WithOwner(uid, gid int) Entry {
	e.Header.Uid, e.Header.Gid = uid, gid
	return e
}

// WithModTime returns the entry with this time of last modification.
func (e Entry) WithModTime(t time.Time) Entry {
	e.Header.ModTime = t
	return e
}

// WithXattr returns the entry with one more extended attribute, for example user.note.
func (e Entry) WithXattr(name, value string) Entry {
	records := map[string]string{xattrPrefix + name: value}
	for k, v := range e.Header.PAXRecords {
		if _, ok := records[k]; !ok {
			records[k] = v
		}
	}
	e.Header.PAXRecords = records
	return e
}

// header has a fixed time so that equal layers have equal digests.
func header(kind byte, name string, mode int64) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Mode: mode, ModTime: time.Unix(1_700_000_000, 0),
		Format: tar.FormatPAX}
}
