// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Tree is a layer of everything below the directory root, streamed when the image is written: owners, modes,
// times, devices, hard links and extended attributes included; sockets and the content of other file systems
// mounted below root are left out. Where root is the upper directory of an overlay, its whiteouts and opaque
// directories become those of the OCI notation. The tree must not change while the image is written.
func Tree(root string) Layer {
	return Layer{write: func(tw *tar.Writer) error {
		top, err := os.Lstat(root)
		if err != nil {
			return fmt.Errorf("look at the tree of a layer: %w", err)
		}
		w := treeWriter{tw: tw, root: root, device: stat(top).Dev, first: map[uint64]string{}}
		return filepath.WalkDir(root, w.visit)
	}}
}

// treeWriter writes one directory tree into one archive.
type treeWriter struct {
	tw     *tar.Writer
	root   string
	device uint64
	// first is the name under which an inode with several links was written.
	first map[uint64]string
}

func (w treeWriter) visit(file string, d fs.DirEntry, err error) error {
	if err != nil {
		return fmt.Errorf("read the tree of a layer: %w", err)
	}
	name, err := filepath.Rel(w.root, file)
	if err != nil {
		return fmt.Errorf("name %s in the layer: %w", file, err)
	}
	if name == "." || d.Type()&fs.ModeSocket != 0 {
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return fmt.Errorf("look at %s: %w", file, err)
	}
	if err := w.writeFile(file, name, info); err != nil {
		return fmt.Errorf("write %s into the layer: %w", name, err)
	}
	if d.IsDir() && stat(info).Dev != w.device {
		return fs.SkipDir
	}
	return nil
}

func (w treeWriter) writeFile(file, name string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeCharDevice != 0 && stat(info).Rdev == 0 {
		return w.writeEntry(Whiteout(name))
	}
	h, err := w.header(file, name, info)
	if err != nil {
		return err
	}
	if err := w.tw.WriteHeader(h); err != nil {
		return err
	}
	if opaque(file) {
		return w.writeEntry(Opaque(name))
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w.tw, f)
	return err
}

func (w treeWriter) writeEntry(e Entry) error { return w.tw.WriteHeader(&e.Header) }

// opaque reports whether overlayfs marked a directory as hiding what lies below it.
func opaque(file string) bool {
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(file, "trusted.overlay.opaque", value)
	return err == nil && n == 1 && value[0] == 'y'
}

func (w treeWriter) header(file, name string, info fs.FileInfo) (*tar.Header, error) {
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(file)
		if err != nil {
			return nil, err
		}
		link = target
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return nil, err
	}
	h.Name, h.Format = name, tar.FormatPAX
	if info.IsDir() {
		h.Name += "/"
	}
	// Names of owners are those of this host and mean nothing in the image; other times would change the
	// digest with every access.
	h.Uname, h.Gname = "", ""
	h.AccessTime, h.ChangeTime = h.ModTime, h.ModTime
	if w.linked(h, info) {
		return h, nil
	}
	h.PAXRecords, err = xattrs(file)
	return h, err
}

// linked turns the header of a file that is in the archive under another name into a hard link to it.
func (w treeWriter) linked(h *tar.Header, info fs.FileInfo) bool {
	st := stat(info)
	if info.IsDir() || st.Nlink < 2 {
		return false
	}
	earlier, ok := w.first[st.Ino]
	if !ok {
		w.first[st.Ino] = h.Name
		return false
	}
	h.Typeflag, h.Linkname, h.Size = tar.TypeLink, earlier, 0
	return true
}

// xattrs returns the extended attributes of a file as PAX records, without those that overlayfs keeps its own
// books in.
func xattrs(file string) (map[string]string, error) {
	names, err := readXattr(func(buf []byte) (int, error) { return unix.Llistxattr(file, buf) })
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value, err := readXattr(func(buf []byte) (int, error) { return unix.Lgetxattr(file, name, buf) })
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		records[xattrPrefix+name] = string(value)
	}
	return records, nil
}

// readXattr calls read with a buffer that is large enough for any attribute and any list of them (64 KiB, the
// kernel's limit). A file system without extended attributes has none.
func readXattr(read func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 1<<16)
	n, err := read(buf)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// stat is what the kernel says about a file; FileInfo of the os package on Linux always holds it.
func stat(info fs.FileInfo) *syscall.Stat_t {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return &syscall.Stat_t{}
	}
	return st
}
